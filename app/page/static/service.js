/**
 * `mask`: white = fill, of the image's size.
 * @typedef {{image: Blob, mask: Blob}} FillRequest
 * @typedef {"png" | "jpeg" | "webp"} Format
 * @typedef {{max_request_bytes: number, max_pixels: number, max_side: number}} Limits
 */

/** What the service answered instead of a picture; `status` 0: it did not answer at all. */
export class Problem extends Error {
  /** @param {number} status @param {string} detail @param {number | null} retrySeconds */
  constructor(status, detail = "", retrySeconds = null) {
    super(detail);
    this.status = status;
    this.retrySeconds = retrySeconds;
  }
}

/** The HTTP service that the page came from. */
export class Service {
  /** Kept in memory only: a closed or reloaded page has forgotten it. */
  apiKey = "";

  /** @returns {Promise<Limits>} */
  async limits() {
    const response = await fetch("page/limits");
    if (!response.ok) throw new Problem(response.status);
    return response.json();
  }

  /**
   * Have the masked part of an image filled. Not by `fetch`, which does not tell how much has been uploaded.
   * @param {FillRequest} request @param {Format} format
   * @param {{signal: AbortSignal, onUpload: (fraction: number) => void}} options
   * @returns {Promise<Blob>}
   * @throws {Problem} or an AbortError, after `signal` was given
   */
  fill({ image, mask }, format, { signal, onUpload }) {
    const form = new FormData();
    form.append("image", image, "image");
    form.append("mask", mask, "mask.png");
    form.append("format", format);
    const exchange = new XMLHttpRequest();
    exchange.open("POST", "inpaint");
    exchange.responseType = "blob";
    if (this.apiKey) exchange.setRequestHeader("Authorization", `Bearer ${this.apiKey}`);
    exchange.upload.onprogress = ({ loaded, total }) => onUpload(loaded / total);
    return new Promise((resolve, reject) => {
      exchange.onload = () =>
        exchange.status === 200 ? resolve(exchange.response) : readProblem(exchange).then(reject);
      exchange.onerror = () => reject(new Problem(0));
      exchange.onabort = () => reject(new DOMException("The request was cancelled.", "AbortError"));
      signal.addEventListener("abort", () => exchange.abort());
      exchange.send(form);
    });
  }
}

/** @param {XMLHttpRequest} exchange @returns {Promise<Problem>} */
async function readProblem(exchange) {
  const seconds = Number.parseInt(exchange.getResponseHeader("Retry-After") ?? "", 10);
  const problem = await new Response(exchange.response).json().catch(() => ({}));
  return new Problem(exchange.status, problem.detail, Number.isNaN(seconds) ? null : seconds);
}

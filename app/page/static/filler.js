import { Problem } from "./service.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {import("./service.js").FillRequest} FillRequest
 * @typedef {import("./service.js").Format} Format
 */

const MAX_ATTEMPTS = 5;
const LONGEST_WAIT_SECONDS = 60;
/** What a form needs around its files. */
const FORM_BYTES = 2000;

/** Sends fill requests: asks for a key where one is needed, and waits where the service asks to wait. */
export class Filler {
  #service;
  #limits;
  #notices;
  #askForKey;
  #abort = new AbortController();

  /**
   * @param {import("./service.js").Service} service @param {import("./service.js").Limits} limits
   * @param {import("./notices.js").Notices} notices
   * @param {(refused: boolean) => Promise<string>} askForKey resolves to "" if there is none
   */
  constructor(service, limits, notices, askForKey) {
    this.#service = service;
    this.#limits = limits;
    this.#notices = notices;
    this.#askForKey = askForKey;
  }

  /**
   * The file that is sent for a picture: its own, or a JPEG of a result whose PNG is larger than the service takes.
   * @param {Picture} picture @param {Blob} mask
   */
  async imageFor(picture, mask) {
    const room = this.#limits.max_request_bytes - mask.size - FORM_BYTES;
    return picture.file.size > room && picture.request ? picture.toJpeg() : picture.file;
  }

  /** @param {FillRequest | Promise<FillRequest>} request @param {Format} format @returns {Promise<Blob>} */
  async fill(request, format) {
    this.#abort = new AbortController();
    this.#notices.start();
    try {
      const ready = await request;
      this.#abort.signal.throwIfAborted();
      return await this.#fill(ready, format, 1);
    } finally {
      this.#notices.stop();
    }
  }

  cancel() {
    this.#abort.abort(new DOMException("The request was cancelled.", "AbortError"));
  }

  /** @param {FillRequest} request @param {Format} format @param {number} attempt @returns {Promise<Blob>} */
  async #fill(request, format, attempt) {
    this.#notices.say("uploading");
    try {
      return await this.#service.fill(request, format, {
        signal: this.#abort.signal,
        onUpload: (fraction) => this.#uploaded(fraction),
      });
    } catch (error) {
      if (!(error instanceof Problem) || attempt === MAX_ATTEMPTS || !(await this.#canRetry(error))) throw error;
      return this.#fill(request, format, attempt + 1);
    }
  }

  /** @param {number} fraction */
  #uploaded(fraction) {
    this.#notices.progress(fraction < 1 ? fraction : null);
    if (fraction === 1) this.#notices.say("filling");
  }

  /** @param {Problem} problem */
  async #canRetry({ status, retrySeconds }) {
    if (status === 401) {
      this.#service.apiKey = await this.#askForKey(this.#service.apiKey !== "");
      return this.#service.apiKey !== "";
    }
    if (retrySeconds === null || retrySeconds > LONGEST_WAIT_SECONDS) return false;
    await this.#wait(retrySeconds);
    return true;
  }

  /** @param {number} seconds */
  async #wait(seconds) {
    const { signal } = this.#abort;
    for (let left = Math.max(seconds, 1); left > 0; left--) {
      this.#notices.say("waiting", { seconds: left });
      await new Promise((resolve) => setTimeout(resolve, 1000));
      signal.throwIfAborted();
    }
  }
}

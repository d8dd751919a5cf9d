const PREVIEW_SIDE = 2048;

/**
 * A picture: the file as it came, and its pixels, upright (EXIF orientation applied, as the service does).
 */
export class Picture {
  #full;
  #preview;

  /**
   * @param {Blob} file @param {string} name
   * @param {ImageBitmap} full @param {ImageBitmap} preview
   * @param {import("./service.js").FillRequest | null} request
   */
  constructor(file, name, full, preview, request) {
    this.file = file;
    this.name = name;
    this.width = full.width;
    this.height = full.height;
    /** What the service was asked for to get this picture; null for one that was opened. */
    this.request = request;
    this.#full = full;
    this.#preview = preview;
  }

  /**
   * @param {Blob} file @param {string} name
   * @param {import("./service.js").FillRequest | null} request
   * @throws where the browser cannot read the file as a picture
   */
  static async decode(file, name, request = null) {
    const full = await createImageBitmap(file, { imageOrientation: "from-image" });
    const ratio = PREVIEW_SIDE / Math.max(full.width, full.height);
    if (ratio >= 1) return new Picture(file, name, full, full, request);
    const preview = await createImageBitmap(full, {
      resizeWidth: Math.max(Math.round(full.width * ratio), 1),
      resizeHeight: Math.max(Math.round(full.height * ratio), 1),
      resizeQuality: "high",
    });
    return new Picture(file, name, full, preview, request);
  }

  get pixels() {
    return this.width * this.height;
  }

  /**
   * Draw as the viewport sees it, from the preview as long as that has enough pixels.
   * @param {CanvasRenderingContext2D} context @param {import("./viewport.js").Viewport} viewport
   * @param {number} density device pixels of a CSS pixel
   */
  draw(context, { x, y, scale }, density) {
    const enough = scale * density <= this.#preview.width / this.width;
    context.drawImage(enough ? this.#preview : this.#full, x, y, this.width * scale, this.height * scale);
  }

  /** The pixels as a JPEG, for where the file is too large to be sent. @returns {Promise<Blob>} */
  async toJpeg() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    canvas.getContext("2d")?.drawImage(this.#full, 0, 0);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.97 });
  }

  close() {
    this.#full.close();
    this.#preview.close();
  }
}

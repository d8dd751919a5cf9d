/** @typedef {{x: number, y: number}} Point */

const MAX_SCALE = 16;
const LARGEST_FIT = 4;

/**
 * Where the picture lies on the stage: stage = picture * scale + offset. The stage is measured in CSS pixels, the
 * picture in its own.
 */
export class Viewport {
  scale = 1;
  x = 0;
  y = 0;
  #stage = { width: 1, height: 1 };
  #picture = { width: 1, height: 1 };

  /** The scale at which the whole picture is seen. Small pictures are enlarged, but not without end. */
  get fittingScale() {
    const { width, height } = this.#picture;
    return Math.min(this.#stage.width / width, this.#stage.height / height, LARGEST_FIT);
  }

  /** @param {number} width @param {number} height of the stage */
  resize(width, height) {
    const fitted = this.scale === this.fittingScale;
    this.#stage = { width, height };
    if (fitted) this.fit();
    else this.panBy(0, 0);
  }

  /**
   * Show another picture; one of the same size is seen as its predecessor was.
   * @param {{width: number, height: number}} picture
   */
  show({ width, height }) {
    if (width === this.#picture.width && height === this.#picture.height) return;
    this.#picture = { width, height };
    this.fit();
  }

  fit() {
    this.scale = this.fittingScale;
    this.panBy(0, 0);
  }

  /**
   * Enlarge by `factor`, while what is at `centre` of the stage stays there.
   * @param {number} factor @param {Point} centre
   */
  zoomAt(factor, centre) {
    const scale = Math.min(Math.max(this.scale * factor, this.fittingScale), MAX_SCALE);
    const { x, y } = this.toPicture(centre);
    this.scale = scale;
    this.x = centre.x - x * scale;
    this.y = centre.y - y * scale;
    this.panBy(0, 0);
  }

  /** @param {number} factor */
  zoom(factor) {
    this.zoomAt(factor, { x: this.#stage.width / 2, y: this.#stage.height / 2 });
  }

  /** @param {number} dx @param {number} dy */
  panBy(dx, dy) {
    this.x = within(this.x + dx, this.#stage.width, this.#picture.width * this.scale);
    this.y = within(this.y + dy, this.#stage.height, this.#picture.height * this.scale);
  }

  /** @param {Point} point of the stage @returns {Point} the same, on the picture */
  toPicture({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }
}

/**
 * An offset that keeps what fits centred, and a part of what does not in the middle of the stage.
 * @param {number} offset @param {number} stage @param {number} picture
 */
function within(offset, stage, picture) {
  if (picture <= stage) return (stage - picture) / 2;
  return Math.min(Math.max(offset, stage / 2 - picture), stage / 2);
}

import { drawStroke } from "./strokes.js";
import { Viewport } from "./viewport.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {import("./strokes.js").Stroke} Stroke
 */

/**
 * Two canvases of the screen's size: the picture, and what is painted over it. A move of the brush draws only its
 * newest segment; everything else is drawn at most once a frame.
 */
export class Stage {
  viewport = new Viewport();
  /** @type {Picture | null} */
  #picture = null;
  /** @type {Picture | null} shown left of the divider */
  #before = null;
  #divider = 0.5;
  /** @type {Stroke[]} */
  #strokes = [];
  /** @type {Stroke | null} */
  #growing = null;
  #frame = 0;
  #below;
  #above;
  #colour;

  /** @param {HTMLElement} element that holds the canvases #picture and #paint */
  constructor(element) {
    this.#below = contextOf(element, "#picture");
    this.#above = contextOf(element, "#paint");
    this.#colour = getComputedStyle(element).getPropertyValue("--mask");
    new ResizeObserver(() => this.#resize(element.clientWidth, element.clientHeight)).observe(element);
  }

  /** @param {Picture} picture @param {Stroke[]} strokes */
  show(picture, strokes) {
    this.#picture = picture;
    this.#strokes = strokes;
    this.#growing = null;
    this.viewport.show(picture);
    this.draw();
  }

  /**
   * Show `before` left of the divider, or nothing but the current picture.
   * @param {Picture | null} before @param {number} divider 0 to 1
   */
  compare(before, divider) {
    this.#before = before;
    this.#divider = divider;
    this.draw();
  }

  /**
   * Draw the points of a growing stroke from number `from` on, over what has been drawn.
   * @param {Stroke} stroke @param {number} from
   */
  extend(stroke, from) {
    this.#growing = stroke;
    drawStroke(this.#above, stroke, from);
  }

  /** Draw everything with the next frame. */
  draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.#picture) return;
      this.#drawPictures(this.#picture);
      this.#drawStrokes(this.#picture);
    });
  }

  /** @param {number} width @param {number} height */
  #resize(width, height) {
    for (const { canvas } of [this.#below, this.#above]) {
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
    }
    this.viewport.resize(width, height);
    this.draw();
  }

  /** @param {Picture} picture */
  #drawPictures(picture) {
    const context = this.#below;
    const { width, height } = context.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.scale(devicePixelRatio, devicePixelRatio);
    picture.draw(context, this.viewport, devicePixelRatio);
    if (!this.#before) return;
    context.save();
    context.beginPath();
    context.rect(0, 0, (this.#divider * width) / devicePixelRatio, height);
    context.clip();
    context.clearRect(0, 0, width, height);
    this.#before.draw(context, this.viewport, devicePixelRatio);
    context.restore();
  }

  /** Leaves the context ready for `extend`: in the picture's coordinates, and clipped to it. @param {Picture} picture */
  #drawStrokes(picture) {
    const context = this.#above;
    const { scale, x, y } = this.viewport;
    context.reset();
    context.scale(devicePixelRatio, devicePixelRatio);
    context.translate(x, y);
    context.scale(scale, scale);
    context.beginPath();
    context.rect(0, 0, picture.width, picture.height);
    context.clip();
    context.fillStyle = context.strokeStyle = this.#colour;
    if (this.#before) return;
    for (const stroke of this.#strokes) drawStroke(context, stroke);
    if (this.#growing) drawStroke(context, this.#growing);
  }
}

/** @param {HTMLElement} element @param {string} selector */
function contextOf(element, selector) {
  const canvas = /** @type {HTMLCanvasElement} */ (element.querySelector(selector));
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

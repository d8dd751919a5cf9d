import { History } from "./history.js";
import { Stage } from "./stage.js";
import { marksAnything } from "./strokes.js";

/**
 * @typedef {import("./picture.js").Picture} Picture
 * @typedef {import("./strokes.js").Stroke} Stroke
 * @typedef {import("./viewport.js").Point} Point
 * @typedef {{picture: Picture, strokes: Stroke[]}} Work
 */

/** Pixels of the pictures that undo may bring back, 4 bytes each. */
const MAX_HISTORY_PIXELS = 100_000_000;

/** The picture in work: painted, filled, undone and compared. */
export class Editor {
  /** @type {"brush" | "eraser" | "hand"} */
  tool = "brush";
  /** Diameter in CSS pixels. */
  brushSize = 40;
  comparing = false;
  #divider = 0.5;
  /** @type {History<Work> | null} */
  #history = null;
  /** @type {Picture | null} */
  #opened = null;
  /** @type {Stroke | null} */
  #stroke = null;
  #stage;
  #onChange;

  /** @param {HTMLElement} element @param {() => void} onChange */
  constructor(element, onChange) {
    this.#stage = new Stage(element);
    this.#onChange = onChange;
  }

  /** @returns {Work | null} */
  get work() {
    return this.#history?.current ?? null;
  }

  get canUndo() {
    return this.#history?.canUndo ?? false;
  }

  get canRedo() {
    return this.#history?.canRedo ?? false;
  }

  get isPainted() {
    return marksAnything(this.work?.strokes ?? []);
  }

  get isFilled() {
    return Boolean(this.work?.picture.request);
  }

  /**
   * Begin anew with a picture, and strokes that are already painted over it.
   * @param {Picture} picture @param {Stroke[]} strokes
   */
  open(picture, strokes = []) {
    const forgotten = this.#pictures();
    this.#history = new History({ picture, strokes });
    this.#opened = picture;
    this.comparing = false;
    for (const each of forgotten) each.close();
    this.#changed();
  }

  /** Go on with what the service made of the current picture. @param {Picture} picture */
  continueWith(picture) {
    this.#push({ picture, strokes: [] });
  }

  clear() {
    if (this.work) this.#push({ picture: this.work.picture, strokes: [] });
  }

  undo() {
    this.#history?.undo();
    this.#changed();
  }

  redo() {
    this.#history?.redo();
    this.#changed();
  }

  /** @param {Point} point of the stage */
  startStroke(point) {
    const { viewport } = this.#stage;
    this.#stroke = {
      points: [viewport.toPicture(point)],
      radius: this.brushSize / 2 / viewport.scale,
      erases: this.tool === "eraser",
    };
    this.#stage.extend(this.#stroke, 0);
  }

  /** @param {Point[]} points of the stage */
  extendStroke(points) {
    if (!this.#stroke) return;
    const from = this.#stroke.points.length;
    this.#stroke.points.push(...points.map((point) => this.#stage.viewport.toPicture(point)));
    this.#stage.extend(this.#stroke, from);
  }

  finishStroke() {
    if (!this.#stroke || !this.work) return;
    const { picture, strokes } = this.work;
    const stroke = this.#stroke;
    this.#stroke = null;
    this.#push({ picture, strokes: [...strokes, stroke] });
  }

  cancelStroke() {
    this.#stroke = null;
    this.#changed();
  }

  /** Compare with the picture as it was opened. @param {boolean} comparing */
  compare(comparing, divider = this.#divider) {
    this.#divider = divider;
    this.comparing = comparing && this.isFilled;
    this.#changed();
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.#stage.viewport.panBy(dx, dy);
    this.#stage.draw();
  }

  /** @param {number} factor @param {Point} [centre] of the stage, by default its middle */
  zoom(factor, centre) {
    if (centre) this.#stage.viewport.zoomAt(factor, centre);
    else this.#stage.viewport.zoom(factor);
    this.#stage.draw();
  }

  fit() {
    this.#stage.viewport.fit();
    this.#stage.draw();
  }

  /** @param {Work} work */
  #push(work) {
    const history = this.#history;
    if (!history) return;
    const known = this.#pictures();
    history.push(work);
    while (history.canUndo && this.#pictures().reduce((sum, { pixels }) => sum + pixels, 0) > MAX_HISTORY_PIXELS) {
      history.forgetOldest();
    }
    const kept = this.#pictures();
    for (const picture of known) if (!kept.includes(picture)) picture.close();
    this.#changed();
  }

  /** Every picture that is shown or may be shown again. */
  #pictures() {
    const all = [this.#opened, ...(this.#history?.states ?? []).map(({ picture }) => picture)];
    return [...new Set(all)].filter((picture) => picture !== null);
  }

  #changed() {
    if (!this.work || !this.#opened) return;
    this.comparing &&= this.isFilled;
    this.#stage.show(this.work.picture, this.work.strokes);
    this.#stage.compare(this.comparing ? this.#opened : null, this.#divider);
    this.#onChange();
  }
}

/**
 * @typedef {import("./viewport.js").Point} Point
 * @typedef {{
 *   pans: () => boolean,
 *   startStroke: (point: Point) => void,
 *   extendStroke: (points: Point[]) => void,
 *   finishStroke: () => void,
 *   cancelStroke: () => void,
 *   pan: (dx: number, dy: number) => void,
 *   zoom: (factor: number, centre: Point) => void,
 *   hover: (point: Point | null) => void,
 * }} Handlers points are of the element, in CSS pixels
 */

const WHEEL_SPEED = 0.0015;
const LINE_HEIGHT = 16;

/** Tells apart what pointers mean: one paints or pans, two pinch. Mouse, finger and pen are treated alike. */
export class Gestures {
  /** @type {Map<number, Point>} */
  #pointers = new Map();
  /** @type {"paint" | "pan" | "pinch" | null} */
  #gesture = null;
  #element;
  #handlers;

  /** @param {HTMLElement} element @param {Handlers} handlers */
  constructor(element, handlers) {
    this.#element = element;
    this.#handlers = handlers;
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#up(event));
    element.addEventListener("pointercancel", (event) => this.#up(event));
    element.addEventListener("pointerleave", () => handlers.hover(null));
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** @param {MouseEvent} event @returns {Point} */
  #point({ clientX, clientY }) {
    const { left, top } = this.#element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (this.#pointers.size === 2) return;
    const point = this.#point(event);
    this.#element.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, point);
    if (this.#pointers.size === 2) {
      if (this.#gesture === "paint") this.#handlers.cancelStroke();
      this.#gesture = "pinch";
    } else if (this.#handlers.pans() || event.button === 1 || event.button === 2) {
      this.#gesture = "pan";
    } else {
      this.#gesture = "paint";
      this.#handlers.startStroke(point);
    }
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const point = this.#point(event);
    if (event.pointerType !== "touch") this.#handlers.hover(point);
    const previous = this.#pointers.get(event.pointerId);
    if (!previous) return;
    this.#pointers.set(event.pointerId, point);
    if (this.#gesture === "paint") {
      const events = event.getCoalescedEvents?.() ?? [];
      this.#handlers.extendStroke((events.length ? events : [event]).map((each) => this.#point(each)));
    } else if (this.#gesture === "pinch") {
      this.#pinch(event.pointerId, previous, point);
    } else {
      this.#handlers.pan(point.x - previous.x, point.y - previous.y);
    }
  }

  /** One of two fingers has moved. @param {number} moved @param {Point} previous @param {Point} point */
  #pinch(moved, previous, point) {
    const other = [...this.#pointers].find(([id]) => id !== moved)?.[1];
    if (!other) return;
    const factor = distance(point, other) / Math.max(distance(previous, other), 1);
    this.#handlers.pan((point.x - previous.x) / 2, (point.y - previous.y) / 2);
    this.#handlers.zoom(factor, { x: (point.x + other.x) / 2, y: (point.y + other.y) / 2 });
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#gesture === "paint") {
      if (event.type === "pointercancel") this.#handlers.cancelStroke();
      else this.#handlers.finishStroke();
    }
    // The finger that stays after a pinch moves the picture on; it does not begin to paint.
    this.#gesture = this.#pointers.size ? "pan" : null;
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * LINE_HEIGHT : event.deltaY;
    // A trackpad's pinch arrives as a wheel with the control key, in smaller steps.
    const speed = event.ctrlKey ? 5 * WHEEL_SPEED : WHEEL_SPEED;
    this.#handlers.zoom(Math.exp(-pixels * speed), this.#point(event));
  }
}

/** @param {Point} a @param {Point} b */
function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

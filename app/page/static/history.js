/**
 * The states of the work, the current one among them. States are never changed, only followed by others.
 * @template State
 */
export class History {
  /** @type {State[]} */
  #past = [];
  /** @type {State[]} */
  #future = [];

  /** @param {State} first */
  constructor(first) {
    this.current = first;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /** Every state, the oldest first. */
  get states() {
    return [...this.#past, this.current, ...[...this.#future].reverse()];
  }

  /** @param {State} state */
  push(state) {
    this.#past.push(this.current);
    this.#future = [];
    this.current = state;
  }

  undo() {
    const state = this.#past.pop();
    if (state === undefined) return;
    this.#future.push(this.current);
    this.current = state;
  }

  redo() {
    const state = this.#future.pop();
    if (state === undefined) return;
    this.#past.push(this.current);
    this.current = state;
  }

  forgetOldest() {
    this.#past.shift();
  }
}

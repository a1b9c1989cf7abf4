// The cells of a picture as things to point at and to reach with the arrow keys: one stop of Tab for the whole picture.

import { svg } from "./dom.js";
import { inFrame, placeOf } from "./cells.js";

export class CellTargets {
  // told(cell or null): what is pointed at, or else held by the keyboard or a tap. picked(cell): the space bar.
  constructor({ told, picked }) {
    Object.assign(this, { told, picked, pointed: null, held: null, at: 0, targets: [] });
    this.group = svg("g", { class: "targets" });
  }

  // label(cell): what a screen reader says of it.
  place(cells, frame, name, label) {
    const { grid: [, columns], boxes } = inFrame(cells, frame);
    const focused = this.targets.indexOf(document.activeElement);
    this.columns = columns;
    this.group.replaceChildren();
    this.group.setAttribute("role", "grid");
    this.group.setAttribute("aria-label", name);
    this.at = Math.min(this.at, boxes.length - 1);
    let line;
    this.targets = boxes.map((box, i) => {
      if (i % columns === 0) this.group.append(line = svg("g", { role: "row" }));
      const cell = [Math.floor(i / columns), i % columns];
      const target = svg("rect", {
        class: "cell", role: "gridcell", tabindex: i === this.at ? 0 : -1, "aria-label": label(cell), ...placeOf(box),
        // Not on entering: new cells below a pointer that rests are not pointed at.
        onpointermove: (event) => event.pointerType !== "touch" && this.pointed !== cell && this.point(cell),
        onpointerleave: () => this.pointed && this.point(null),
        onfocus: () => { this.rove(i); this.held = cell; this.tell(); },
        onblur: () => { this.held = null; this.tell(); },
        onclick: () => target.focus({ preventScroll: true }),
        onkeydown: (event) => this.keyed(event, i, cell),
      });
      line.append(target);
      return target;
    });
    if (focused >= 0) this.targets[Math.min(focused, boxes.length - 1)].focus({ preventScroll: true });
  }

  clear() {
    this.group.replaceChildren();
    this.group.removeAttribute("role");
    this.group.removeAttribute("aria-label");
    Object.assign(this, { targets: [], pointed: null, held: null });
  }

  point(cell) {
    this.pointed = cell;
    this.tell();
  }

  tell() {
    this.told(this.pointed || this.held);
  }

  rove(i) {
    this.targets[this.at]?.setAttribute("tabindex", -1);
    this.targets[i].setAttribute("tabindex", 0);
    this.at = i;
  }

  keyed(event, i, cell) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const column = i % this.columns, last = this.targets.length - 1;
    const to = {
      ArrowLeft: column > 0 ? i - 1 : i,
      ArrowRight: column < this.columns - 1 ? i + 1 : i,
      ArrowUp: i >= this.columns ? i - this.columns : i,
      ArrowDown: i + this.columns <= last ? i + this.columns : i,
      Home: i - column,
      End: i - column + this.columns - 1,
    }[event.key];
    if (event.key === "Escape" && this.held) {
      event.preventDefault();
      Object.assign(this, { pointed: null, held: null });
      this.tell();
    }
    if (event.key === " ") {
      event.preventDefault();
      this.picked?.(cell);
    }
    if (to === undefined) return;
    event.preventDefault();
    this.pointed = null;
    this.targets[to].focus();
  }
}

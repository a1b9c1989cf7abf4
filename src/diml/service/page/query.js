// The query: its picture, the part of it that is pointed at, and the boxes over the parts that are looked for.

import { byId, html, svg } from "./dom.js";
import { Frame, indexOf, inFrame, placeOf } from "./cells.js";
import { CellTargets } from "./celltargets.js";
import { chosenShapes, ring } from "./overlay.js";
import { cellName } from "./words.js";

const SIDE = 320;
// A pointer that moved less, in pixels of the screen, did not draw a box.
const STILL = 5;
// An image with fewer pixels has cells of less than a few: fractions count.
const SMALL = 100;

export class QueryPanel {
  // told(cell or null): the part that lights up. boxed(boxes): the boxes to look for, in pixels of the query.
  constructor({ told, boxed, most }) {
    Object.assign(this, { told, boxed, most, boxes: [], past: [], size: null, cells: null, drawing: null });
    this.picture = byId("query");
    this.layers = { image: svg("g"), over: svg("g"), ring: svg("g"), band: svg("g") };
    this.targets = new CellTargets({ told: (cell) => this.pointAt(cell), picked: (cell) => this.toggle(cell) });
    this.picture.append(this.layers.image, this.layers.over, this.layers.ring, this.targets.group, this.layers.band);
    this.listen();
  }

  listen() {
    byId("draw").addEventListener("click", () => this.setTool(byId("draw").getAttribute("aria-pressed") !== "true"));
    byId("undo").addEventListener("click", () => this.undo());
    byId("whole").addEventListener("click", () => this.change([]));
    byId("box-form").addEventListener("submit", (event) => { event.preventDefault(); this.addTyped(event.target); });
    this.picture.addEventListener("pointerdown", (event) => this.press(event));
    this.picture.addEventListener("pointermove", (event) => this.drag(event));
    this.picture.addEventListener("pointerup", (event) => this.release(event));
    this.picture.addEventListener("pointercancel", () => this.stopDrawing());
    byId("query-shown").addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.stopDrawing();
      if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && event.target.tagName !== "INPUT") {
        event.preventDefault();
        this.undo();
      }
    });
  }

  // A new image; `size` may come later, for formats that the browser cannot show.
  set(name, address, size) {
    Object.assign(this, { past: [], cells: null, address });
    this.targets.clear();
    this.targets.at = 0;
    byId("query-name").textContent = name;
    byId("query-shown").hidden = false;
    document.body.classList.add("has-query");
    const shared = byId("query-image");
    if (address) shared.setAttribute("href", address);
    else shared.removeAttribute("href");
    this.setSize(size || [1, 1]);
    this.say(null);
  }

  hide() {
    byId("query-shown").hidden = true;
    document.body.classList.remove("has-query");
    byId("query-image").removeAttribute("href");
    this.targets.clear();
    Object.assign(this, { cells: null, boxes: [], past: [] });
  }

  setSize(size) {
    this.size = size;
    this.frame = Frame.fitted(size, SIDE);
    const { place } = this.frame;
    this.picture.setAttribute("viewBox", `-4 -4 ${SIDE + 8} ${Math.max(place.height, 3) + 8}`);
    this.picture.classList.toggle("tiny", Math.max(...size) < 100);
    this.layers.image.replaceChildren(
      svg("rect", { class: "blank", ...place }),
      ...(this.address
        ? [svg("image", { href: this.address, preserveAspectRatio: "none", ...place })]
        : [svg("text", { class: "none", x: place.x + place.width / 2, y: place.y + place.height / 2 }, "no preview in this browser")]),
      svg("rect", { class: "edge", ...place }),
    );
    byId("box-size").textContent = `In pixels of the image, which is ${size[0]} wide and ${size[1]} high.`;
    this.showBoxes(this.boxes);
  }

  // The cells of the query, once an account has told them.
  setCells(cells, describe) {
    Object.assign(this, { cells, describe });
    this.targets.place(cells, this.frame, "Parts of the query", (cell) => cellName(cell) + (this.boxOf(cell) ? ", chosen" : ""));
  }

  showBoxes(boxes) {
    this.boxes = boxes;
    this.layers.over.replaceChildren(chosenShapes(boxes, this.frame));
    byId("undo").disabled = !this.past.length && !boxes.length;
    byId("whole").disabled = !boxes.length;
    byId("boxes-count").textContent = boxes.length || "none";
    byId("boxes-list").replaceChildren(...boxes.map((box, k) => html("li", {},
      html("span", {}, `${box[0]}, ${box[1]} to ${box[2]}, ${box[3]} `),
      html("button", { type: "button", "aria-label": `Remove box ${k + 1}`, onclick: () => this.remove(k) }, "Remove"))));
  }

  change(boxes) {
    if (boxes.length > this.most()) return this.say(null, `The service takes up to ${this.most()} boxes. Remove one first.`);
    this.past.push(this.boxes);
    this.showBoxes(boxes);
    this.boxed(boxes);
  }

  undo() {
    if (!this.past.length && !this.boxes.length) return;
    const boxes = this.past.pop() ?? this.boxes.slice(0, -1);
    this.showBoxes(boxes);
    this.boxed(boxes);
  }

  remove(k) {
    this.change(this.boxes.filter((_, i) => i !== k));
    byId("boxes").querySelector("summary").focus();
  }

  addTyped(form) {
    const [x0, y0, x1, y1] = ["x0", "y0", "x1", "y1"].map((key) => Number(form.elements[key].value));
    const box = [x0, y0, Math.min(x1, this.size[0]), Math.min(y1, this.size[1])];
    if (box[2] <= box[0] || box[3] <= box[1]) return this.say(null, "Right must be more than left, and bottom more than top, within the image.");
    form.reset();
    this.change([...this.boxes, box]);
  }

  rounded(box) {
    const places = Math.min(...this.size) < SMALL ? 100 : 1;
    return box.map((value) => Math.round(places * value) / places);
  }

  boxOf(cell) {
    const box = this.rounded(this.cells.boxes[indexOf(cell, this.cells.grid)]);
    return this.boxes.find((each) => each.every((value, k) => value === box[k]));
  }

  toggle(cell) {
    const known = this.boxOf(cell), box = this.rounded(this.cells.boxes[indexOf(cell, this.cells.grid)]);
    if (box[2] <= box[0] || box[3] <= box[1]) return;
    this.change(known ? this.boxes.filter((each) => each !== known) : [...this.boxes, box]);
  }

  pointAt(cell) {
    if (this.drawing?.moved) cell = null;
    const boxes = cell ? inFrame(this.cells, this.frame).boxes : [];
    this.layers.ring.replaceChildren(...(cell ? ring(boxes[indexOf(cell, this.cells.grid)], { width: 2.6 }) : []));
    this.say(cell);
    this.told(cell);
  }

  say(cell, text) {
    const greeting = matchMedia("(pointer: coarse)").matches
      ? "Tap a part, or press “Draw a box” and drag over one." : "Point at a part, or drag a box over one.";
    byId("said").textContent = text ?? (cell && this.describe ? this.describe(cell) : greeting);
  }

  // --- drawing a box ----------------------------------------------------------------------------------------------

  setTool(on) {
    byId("draw").setAttribute("aria-pressed", on);
    this.picture.classList.toggle("drawing", on);
    if (on) this.say(null, "Drag over the part to look for.");
  }

  press(event) {
    const tool = byId("draw").getAttribute("aria-pressed") === "true";
    // Without the tool a finger scrolls the page.
    if (event.button !== 0 || (event.pointerType === "touch" && !tool)) return;
    this.drawing = { id: event.pointerId, from: [event.clientX, event.clientY], start: this.pixelAt(event), moved: false };
  }

  drag(event) {
    if (this.drawing?.id !== event.pointerId) return;
    const [x, y] = this.drawing.from;
    if (!this.drawing.moved && Math.hypot(event.clientX - x, event.clientY - y) < STILL) return;
    if (!this.drawing.moved) {
      this.drawing.moved = true;
      this.picture.setPointerCapture(event.pointerId);
      this.pointAt(null);
    }
    event.preventDefault();
    const place = placeOf(this.frame.box(this.boxTo(event)));
    this.layers.band.replaceChildren(svg("rect", { class: "lift", ...place }), svg("rect", { class: "chosen", ...place }));
  }

  release(event) {
    if (this.drawing?.id !== event.pointerId) return;
    // Pressing on a part gave it the focus.
    if (this.drawing.moved) this.targets.targets[this.targets.at]?.blur();
    const box = this.drawing.moved ? this.rounded(this.boxTo(event)) : null;
    this.stopDrawing();
    if (box && box[2] > box[0] && box[3] > box[1]) {
      this.setTool(false);
      this.change([...this.boxes, box]);
    }
  }

  stopDrawing() {
    this.drawing = null;
    this.layers.band.replaceChildren();
  }

  boxTo(event) {
    const [x, y] = this.pixelAt(event), [p, q] = this.drawing.start;
    return [Math.min(x, p), Math.min(y, q), Math.max(x, p), Math.max(y, q)];
  }

  pixelAt(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.picture.getScreenCTM().inverse());
    return this.frame.pixel(x, y);
  }
}

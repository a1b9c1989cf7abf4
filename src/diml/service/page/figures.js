// An image with what is outlined on it, as large as a dialog allows.

import { html, name, svg } from "./dom.js";
import { Frame } from "./cells.js";
import { chosenShapes } from "./overlay.js";

const SIDE = 400;

// shown: {letter, title, size, address (a promise), boxes}. The figure has `frame`, `over` for shapes and `top` above them.
export function figureOf({ letter, title, size, address, boxes = [] }) {
  const frame = Frame.fitted(size, SIDE), over = svg("g"), top = svg("g");
  const image = svg("image", { preserveAspectRatio: "none", ...frame.place });
  const missing = svg("text", { class: "none", x: frame.x + frame.width / 2, y: frame.y + frame.height / 2 });
  Promise.resolve(address).then((found) => {
    if (found) image.setAttribute("href", found);
    else missing.textContent = "no image";
  });
  const picture = svg("svg", { class: `picture${Math.max(...size) < 100 ? " tiny" : ""}`, viewBox: `-4 -4 ${SIDE + 8} ${(frame.height + 8).toFixed(1)}`, role: "group", "aria-label": title },
    svg("rect", { class: "blank", ...frame.place }), image, missing, svg("rect", { class: "edge", ...frame.place }), over, chosenShapes(boxes, frame), top);
  const element = html("figure", {}, html("figcaption", {}, html("b", {}, letter), " ", name(title)), picture);
  return { element, frame, over, top };
}

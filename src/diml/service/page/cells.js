// The cells of an image: where they lie in a drawing, and the outline around some of them.

export class Frame {
  // A place in a drawing that shows an image of `size` = [width, height] in pixels.
  constructor(x, y, width, height, size) {
    Object.assign(this, { x, y, width, height, size });
  }

  // Fitted into the middle of a square; extreme shapes keep a visible width.
  static fitted(size, side, x = 0, y = 0, tall = null) {
    const scale = side / Math.max(...size), width = Math.max(size[0] * scale, 3), height = Math.max(size[1] * scale, 3);
    return new Frame(x + (side - width) / 2, y + ((tall ?? height) - height) / 2, width, height, size);
  }

  at(px, py) {
    return [this.x + px * this.width / this.size[0], this.y + py * this.height / this.size[1]];
  }

  box([x0, y0, x1, y1]) {
    return [...this.at(x0, y0), ...this.at(x1, y1)];
  }

  // Back from the drawing to pixels of the image, within it.
  pixel(x, y) {
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    return [
      inside((x - this.x) * this.size[0] / this.width, this.size[0]),
      inside((y - this.y) * this.size[1] / this.height, this.size[1]),
    ];
  }

  get path() {
    return `M${r(this.x)} ${r(this.y)}h${r(this.width)}v${r(this.height)}h${r(-this.width)}Z`;
  }

  get place() {
    return { x: r(this.x), y: r(this.y), width: r(this.width), height: r(this.height) };
  }
}

const r = (value) => Number(value.toFixed(1));

export const placeOf = ([x0, y0, x1, y1]) => ({ x: r(x0), y: r(y0), width: r(Math.max(x1 - x0, 0)), height: r(Math.max(y1 - y0, 0)) });

// The grid and the boxes of the cells, row by row, in pixels of the original, of side "a" (the query) or "b" (the hit).
export function cellsOf(account, side, size) {
  const grid = side === "b" && account.grid_b ? account.grid_b : account.grid;
  const [rows, columns] = grid;
  const boxes = Array.from({ length: rows * columns }, (_, i) => {
    const row = Math.floor(i / columns), column = i % columns;
    return [column * size[0] / columns, row * size[1] / rows, (column + 1) * size[0] / columns, (row + 1) * size[1] / rows];
  });
  for (const match of account.matches) {
    const box = match[side + "_box"];
    if (box) boxes[match[side][0] * columns + match[side][1]] = box;
  }
  return { grid, boxes };
}

export const inFrame = ({ grid, boxes }, frame) => ({ grid, boxes: boxes.map((box) => frame.box(box)) });

export const indexOf = ([row, column], grid) => row * grid[1] + column;

// The outline of cells as SVG path data, its edges shifted towards the cells by `inset`.
export function outline({ grid: [rows, columns], boxes }, cells, inset = 0) {
  const x = [boxes[0][0]], y = [boxes[0][1]];
  for (let column = 0; column < columns; column++) x.push(boxes[column][2]);
  for (let row = 0; row < rows; row++) y.push(boxes[row * columns][3]);
  return loops(cells).map((loop) => {
    const points = loop.map((point, k) => {
      const steps = [step(loop.at(k - 1), point), step(point, loop[(k + 1) % loop.length])];
      // To the right of a step (down, across) lies (across, -down).
      const right = steps.reduce((sum, [down]) => sum - down, 0), below = steps.reduce((sum, [, across]) => sum + across, 0);
      return `${r(x[point[1]] + right * inset)} ${r(y[point[0]] + below * inset)}`;
    });
    return `M${points.join("L")}Z`;
  }).join("");
}

const step = (start, end) => [Math.sign(end[0] - start[0]), Math.sign(end[1] - start[1])];
const same = (p, q) => p[0] === q[0] && p[1] === q[1];

// The corners (row, column of grid lines) of the polygons around cells, clockwise; those of holes run backwards.
export function loops(cells) {
  const inside = new Set(cells.map(String)), edges = new Map();
  const sorted = [...cells].sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  for (const [row, column] of sorted) {
    const corners = [[row, column], [row, column + 1], [row + 1, column + 1], [row + 1, column]];
    const beyond = [[row - 1, column], [row, column + 1], [row + 1, column], [row, column - 1]];
    beyond.forEach((neighbour, k) => {
      if (inside.has(String(neighbour))) return;
      const key = String(corners[k]);
      edges.set(key, [...(edges.get(key) || []), corners[(k + 1) % 4]]);
    });
  }
  const found = [];
  while (edges.size) {
    const start = [...edges.keys()].map((key) => key.split(",").map(Number)).sort((p, q) => p[0] - q[0] || p[1] - q[1])[0];
    found.push(traced(start, edges));
  }
  return found;
}

function traced(start, edges) {
  const loop = [start];
  let at = start, towards = [0, 0];
  for (;;) {
    // Where two cells touch at a corner, turning right stays with the same cell.
    const ends = edges.get(String(at));
    const end = ends.find((each) => same(step(at, each), [towards[1], -towards[0]])) || ends[0];
    ends.splice(ends.indexOf(end), 1);
    if (!ends.length) edges.delete(String(at));
    towards = step(at, end);
    if (same(end, start)) break;
    loop.push(end);
    at = end;
  }
  return loop.filter((point, k) => !same(step(loop.at(k - 1), point), step(point, loop[(k + 1) % loop.length])));
}

// What the page shows, as the part of its address after "#": a link reproduces it for images of the collection.

export const PER_PAGE = [12, 24, 48];

export const START = Object.freeze({
  index: null, id: null, upload: null, regions: [], chosen: [], where: "", k: PER_PAGE[0], page: 1, hit: null, rather: null,
});

// The view of an address. What does not make sense is left out.
export function readView(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, "")), view = { ...START };
  for (const key of ["index", "id", "upload", "hit", "rather"]) view[key] = given.get(key) || null;
  view.where = given.get("where") || "";
  view.regions = given.getAll("region").map(readBox).filter(Boolean);
  view.chosen = given.getAll("is").map((text) => text.split("\u001f")).filter((pair) => pair.length === 2);
  const k = Number(given.get("k")), page = Number(given.get("page"));
  if (PER_PAGE.includes(k)) view.k = k;
  if (Number.isInteger(page) && page > 1) view.page = page;
  return view;
}

// The address of a view; values that are as at the start are left out.
export function writeView(view) {
  const written = new URLSearchParams();
  for (const key of ["index", "id", "upload"]) if (view[key]) written.append(key, view[key]);
  for (const box of view.regions) written.append("region", box.join(","));
  for (const pair of view.chosen) written.append("is", pair.join("\u001f"));
  if (view.where) written.append("where", view.where);
  if (view.k !== START.k) written.append("k", view.k);
  if (view.page > 1) written.append("page", view.page);
  for (const key of ["hit", "rather"]) if (view[key]) written.append(key, view[key]);
  return "#" + written.toString();
}

function readBox(text) {
  const box = text.split(",").map(Number);
  return box.length === 4 && box.every(Number.isFinite) && box[2] > box[0] && box[3] > box[1] ? box : null;
}

export const hasQuery = (view) => view.id !== null || view.upload !== null;

// Equal for views that need the same search, or the same page of the collection.
export const searchKey = (view) => writeView({ ...view, hit: null, rather: null });

// The condition of a view in SQL: each column one of its chosen values, and the condition that was typed.
export function condition(view) {
  const byColumn = new Map();
  for (const [column, value] of view.chosen) byColumn.set(column, [...(byColumn.get(column) || []), value]);
  const terms = [...byColumn].map(([column, values]) => values.length === 1
    ? `${quotedName(column)} = ${quotedText(values[0])}`
    : `${quotedName(column)} IN (${values.map(quotedText).join(", ")})`);
  if (view.where.trim()) terms.push(terms.length ? `(${view.where.trim()})` : view.where.trim());
  return terms.join(" AND ");
}

const quotedText = (text) => `'${text.replaceAll("'", "''")}'`;
// A name never has a backtick in it.
const quotedName = (name) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `\`${name}\``);

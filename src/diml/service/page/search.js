// One search: what is sent, and what of the answer is shown.

import { condition } from "./view.js";

// Pairs of parts in one answer; beyond it the accounts come one by one.
const MOST_PAIRS = 30_000;
// Accounts that are computed with the search: those of earlier pages have been seen.
const MOST_ACCOUNTS = 48;

// The multipart body that names the query: a file, or an image of the index.
export function bodyOf(fields, file, [asFile, asId], id) {
  const body = new FormData();
  if (file) body.append(asFile, file, file.name || "image");
  else body.append(asId, id);
  for (const [key, value] of fields) body.append(key, value);
  return body;
}

export const regionFields = (view) => view.regions.map((box) => ["region", box.join(",")]);

// How many hits to ask for, and for how many of them the account at once.
export function extent(view, grid, limits) {
  const k = Math.min(view.page * view.k, limits.k ?? 1000), parts = grid[0] * grid[1];
  const accounts = Math.min(k, MOST_ACCOUNTS, Math.max(Math.floor(MOST_PAIRS / parts ** 2), 1));
  return { k, from: (view.page - 1) * view.k, accounts: (view.page - 1) * view.k < accounts ? accounts : 0 };
}

export async function search(api, view, file, { k, accounts }, signal) {
  const fields = [["k", k], ["explain", accounts], ...regionFields(view)], where = condition(view);
  if (where) fields.push(["where", where]);
  const body = bodyOf(fields, file, ["image", "id"], view.id);
  return api.json(`v1/indexes/${encodeURIComponent(view.index)}/search`, { method: "POST", body, signal });
}

// The account of one hit, or why it rather than another one, in the form that `accept` names: a promise of a Response.
export function explain(api, view, file, hit, rather, accept, signal) {
  const fields = [["index", view.index], ["b_id", hit], ...regionFields(view)];
  if (rather) fields.push(["rather_than_id", rather]);
  const body = bodyOf(fields, file, ["a", "a_id"], view.id);
  return api.send("v1/explain", { method: "POST", body, accept, signal });
}

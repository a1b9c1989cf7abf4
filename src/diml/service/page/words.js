// Numbers and sentences, as the command line and the pictures write them.

const MINUS = "\u2212", NO_BREAK = "\u00a0";
// Below this a number is rounding.
const NOTICEABLE = 5e-4;

export const SCALE = "1 means identical, 0 unrelated, below 0 opposed.";
export const CAVEAT = "This explains the score, not the world: it shows what the model compared.";
export const WHOLE = "Ranked by similarity: " + SCALE;
export const PART = "Ranked by the similarity of the chosen part, outlined by dots, with whatever resembles it most in the hit: " +
  SCALE + " The rest of the hit is ignored.";
export const GROUPS = {
  background: "Background: parts of little weight",
  unmatched: "No counterpart",
  remainder: "Everything else",
};

export function number(value, digits = 3) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

export function signed(value, digits = 3) {
  const text = number(value, digits);
  return value > 0 && Number(text) !== 0 ? "+" + text : text;
}

// How many decimals show numbers up to `largest`: two significant ones of the largest, from 3 to 6.
export function digits(largest) {
  for (let n = 3; n < 6; n++) if (Math.abs(largest) >= 0.95 * 10 ** (1 - n)) return n;
  return 6;
}

// A part as a share of a positive whole; empty where the whole is not positive, as a share then means nothing.
export function percent(part, whole = 1) {
  if (whole < NOTICEABLE) return "";
  const share = 100 * part / whole;
  return number(share, Math.abs(share) >= 9.95 ? 0 : 1) + NO_BREAK + "%";
}

export const count = (n, one, many = one + "s") => `${n.toLocaleString("en")}${NO_BREAK}${n === 1 ? one : many}`;

export const namedRegions = (account) => account.regions.filter((region) => region.kind === "region");

// The two numbers that a similarity is made of; empty for a part query, which compares parts alone.
export function composition(account) {
  if (account.weight === 1) return "";
  return `whole ${number(account.pooled)} · parts ${number(account.structural)}`;
}

// The sentences above an account.
export function accountSentences(account) {
  const part = account.part !== undefined, named = namedRegions(account), sentences = [SCALE];
  const fraction = (share) => `${Number((100 * share).toPrecision(3))}${NO_BREAK}%`;
  if (part) sentences.push("Only the chosen parts of the query count, each matched with whatever resembles it most in the hit; the rest is ignored.");
  else sentences.push(`It adds ${fraction(1 - account.weight)} of how similar the images are as a whole (pooled similarity ${number(account.pooled)}) and ` +
    `${fraction(account.weight)} of how similar their matched parts are (structural similarity ${number(account.structural)}).`);
  const left = (account.unmatched || [0, 0]).map((share) => (share >= 0.005 ? percent(share) : ""));
  if (left[0] && left[1]) sentences.push(`${left[0]} of the query and ${left[1]} of the hit found no counterpart.`);
  else if (left[0] || left[1]) sentences.push(`${left[0] || left[1]} of the ${left[0] ? "query" : "hit"} found no counterpart.`);
  const total = named.reduce((sum, region) => sum + region.contribution, 0), share = percent(total, account.similarity);
  const carried = `${number(total)} of it${share ? ` (${share})` : ""}`;
  if (!named.length) sentences.push("No regions of the two images correspond.");
  else if (named.length === 1) sentences.push(`One region of each image carries ${carried}.`);
  else sentences.push(`${named.length} regions of each image correspond; together they carry ${carried}.`);
  if (!account.converged) sentences.push("The matching stopped before it had converged, so the numbers are approximate.");
  return sentences;
}

const ROWS = ["upper", "", "lower"], COLUMNS = ["left", "", "right"];
const ALONE = { upper: "top", lower: "bottom", "": "centre" };

// In which third of the rows and of the columns the middle of these cells lies: "upper left", "centre".
export function whereabouts(cells, [rows, columns]) {
  const middle = (k) => cells.reduce((sum, cell) => sum + cell[k], 0) / cells.length + 0.5;
  const third = (value, of) => Math.min(Math.floor(3 * value / of), 2);
  const down = ROWS[third(middle(0), rows)], across = COLUMNS[third(middle(1), columns)];
  return across === "" ? ALONE[down] : `${down} ${across}`.trim();
}

export const cellName = ([row, column]) => `row ${row + 1}, column ${column + 1}`;

// The last part of a path: what people call the file.
export const fileName = (path) => path.split("/").pop();

// Requests to the service. The token travels in a header, never in an address; what can pass by itself is waited for.

const TOKEN = "diml-token";
// How often an answer "busy" or "not ready" is waited for before people are asked.
const TRIES = 8;
const LONGEST = 30;

// An error of the service in one sentence.
export class Problem extends Error {
  constructor(status, detail, after = null) {
    super(detail);
    Object.assign(this, { status, detail, after });
  }
}

export class Api {
  // askToken(refused): a promise of a token, or null; waits(problem, seconds): told before each wait.
  constructor({ askToken, waits }) {
    Object.assign(this, { askToken, waits, asking: null });
  }

  // The answer of the service, once it has one.
  async send(path, { method = "GET", body, accept = "application/json", signal, quiet = false } = {}) {
    for (let tried = 1; ; tried++) {
      const token = sessionStorage.getItem(TOKEN), headers = { accept };
      if (token) headers.authorization = `Bearer ${token}`;
      let response;
      try {
        response = await fetch(new URL(path, document.baseURI), { method, body, headers, signal });
      } catch (error) {
        if (signal?.aborted) throw error;
        throw new Problem(0, navigator.onLine
          ? "The service does not answer. Check that “diml serve” is running, then try again."
          : "This device is offline. Connect it, then try again.");
      }
      if (response.ok) return response;
      const problem = await problemOf(response);
      if (problem.status === 401) await this.newToken(token, quiet);
      else if ([429, 503].includes(problem.status) && tried < TRIES) await this.wait(problem, tried, signal, quiet);
      else throw problem;
    }
  }

  async json(path, options) {
    return (await this.send(path, options)).json();
  }

  async blob(path, options) {
    return (await this.send(path, options)).blob();
  }

  async wait(problem, tried, signal, quiet) {
    const seconds = Math.min(problem.after ?? Math.min(tried, 5), LONGEST);
    for (let left = Math.ceil(seconds); left > 0; left--) {
      if (!quiet) this.waits(problem, left);
      await pause(1000 * Math.min(seconds - Math.ceil(seconds) + left, 1), signal);
    }
  }

  // Requests that are refused together ask once; those for pictures do not ask.
  async newToken(refused, quiet) {
    if (sessionStorage.getItem(TOKEN) !== refused) return;
    if (!quiet) this.asking ??= this.askToken(refused !== null).finally(() => { this.asking = null; });
    const token = await this.asking;
    if (!token) throw new Problem(401, "The service needs a token. Ask whoever runs it, then try again.");
    sessionStorage.setItem(TOKEN, token);
  }
}

async function problemOf(response) {
  const after = Number.parseFloat(response.headers.get("retry-after"));
  let detail = `The service answered ${response.status} ${response.statusText}`.trim() + ".";
  try {
    const document = await response.json();
    if (typeof document.detail === "string" && document.detail) detail = sentence(document.detail);
  } catch {
    // No problem document, for example from a proxy: the status has to do.
  }
  return new Problem(response.status, detail, Number.isFinite(after) && after > 0 ? after : null);
}

// Its first letter stays: it may be that of a file.
const sentence = (text) => text + (/[.!?]$/.test(text) ? "" : ".");

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, milliseconds);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

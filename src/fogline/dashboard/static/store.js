// What the page knows: filled from the server's stream of news, whose keys say what is meant.

export const runs = new Map(); // name → summary
export const jobs = new Map(); // name → settings, by dotted key
export const rows = new Map(); // name → a row for each round
export const nodes = new Map(); // name → who is in the tree
export const trees = new Map(); // name → how they stand
export const outcomes = new Map(); // name → what came of it
export const logs = new Map(); // name → lines
export const troubles = new Map(); // what → a sentence
export const models = new Map(); // name → model report
export const members = new Map(); // name → what the cloud knows of the node
export const approvals = new Map(); // name → how a job stands that waits for owners

const PLAIN = { run: runs, job: jobs, nodes, tree: trees, outcome: outcomes, trouble: troubles, model: models, member: members,
  approval: approvals };
const PARTS = { rows, log: logs };

const listeners = new Set();
let changed = new Set();
export let connected = false;
export let over = false; // The server does not know this page any more.

export function listen(listener) {
  listeners.add(listener);
}

export function open() {
  const source = new EventSource("/api/events");
  for (const [kind, map] of Object.entries(PLAIN)) {
    source.addEventListener(kind, (event) => {
      const { name, data } = JSON.parse(event.data);
      if (data === null) map.delete(name);
      else map.set(name, data);
      note(kind);
    });
  }
  for (const [kind, map] of Object.entries(PARTS)) {
    source.addEventListener(kind, (event) => {
      const { name, data } = JSON.parse(event.data);
      const cut = name.lastIndexOf("/");
      const first = Number(name.slice(cut + 1));
      const list = map.get(name.slice(0, cut)) ?? [];
      map.set(name.slice(0, cut), [...list.slice(0, first), ...(data ?? [])]);
      note(kind);
    });
  }
  source.onopen = () => stand(true);
  source.onerror = () => {
    over = source.readyState === EventSource.CLOSED;
    stand(false);
  };
}

function stand(now) {
  connected = now;
  note("connection");
}

// Many news may come at once: the page is drawn once a frame.
function note(kind) {
  if (!changed.size) requestAnimationFrame(tell);
  changed.add(kind);
}

function tell() {
  const kinds = changed;
  changed = new Set();
  for (const listener of listeners) listener(kinds);
}

// The tree as numbers: who hangs below whom, and how many are in which state.

export const STATES = ["t", "w", "l", "o", "r", "f"];

const indexed = new WeakMap();

// Places of devices and of aggregators below each aggregator; found out once for each list of nodes.
export function index(nodes) {
  let found = indexed.get(nodes);
  if (!found) {
    const places = new Map(nodes.aggregators.map((node, i) => [node.name, i]));
    const devices = nodes.aggregators.map(() => []);
    nodes.homes.forEach((home, device) => devices[home].push(device));
    const below = nodes.aggregators.map(() => []);
    nodes.aggregators.forEach((node, i) => {
      if (places.has(node.parent)) below[places.get(node.parent)].push(i);
    });
    const tiers = [...new Set(nodes.aggregators.map((node) => node.tier))];
    found = { places, devices, below, tiers };
    indexed.set(nodes, found);
  }
  return found;
}

// The letters of the devices right below an aggregator.
export function lettersOf(nodes, states, aggregator) {
  return index(nodes).devices[aggregator].map((device) => states[device] ?? "w").join("");
}

export function count(letters) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const letter of letters) counts[letter] += 1;
  return counts;
}

// How many devices in and below each aggregator are in which state.
export function totals(nodes, states) {
  const { below, devices } = index(nodes);
  const found = [];
  const sum = (i) => {
    const counts = count(devices[i].map((device) => states[device] ?? "w"));
    for (const child of below[i]) {
      const inner = sum(child);
      for (const state of STATES) counts[state] += inner[state];
    }
    found[i] = counts;
    return counts;
  };
  nodes.aggregators.forEach((node, i) => {
    if (!node.parent) sum(i);
  });
  return found;
}

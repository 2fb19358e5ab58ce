// One small square a device, in the colour of its state: ten thousand are drawn in a moment.

const SIZES = [[120, 11], [800, 7], [4000, 5], [Infinity, 4]];

function colours(element) {
  const style = getComputedStyle(element);
  return (letter) => style.getPropertyValue(`--state-${letter}`);
}

// Draws what differs from what is there. `label` says the same in words.
export function draw(canvas, letters, label, width = canvas.parentElement.clientWidth) {
  const theme = document.documentElement.dataset.theme;
  const [, size] = SIZES.find(([most]) => letters.length <= most);
  const columns = Math.max(1, Math.floor(width / size));
  const drawn = `${letters}/${columns}/${theme}`;
  if (canvas.drawn === drawn) return;
  canvas.drawn = drawn;
  canvas.setAttribute("aria-label", label);
  const rows = Math.ceil(letters.length / columns);
  const scale = devicePixelRatio || 1;
  canvas.width = columns * size * scale;
  canvas.height = rows * size * scale;
  canvas.style.width = `${columns * size}px`;
  canvas.style.height = `${rows * size}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const colour = colours(canvas);
  const gap = size > 6 ? 2 : 1;
  for (const letter of new Set(letters)) {
    context.fillStyle = colour(letter);
    for (let i = letters.indexOf(letter); i >= 0; i = letters.indexOf(letter, i + 1)) {
      context.fillRect((i % columns) * size, Math.floor(i / columns) * size, size - gap, size - gap);
    }
  }
}

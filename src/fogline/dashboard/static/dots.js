// One small square a device, in the colour of its state: ten thousand are drawn in a moment.

const SIZES = [[40, 15], [120, 11], [800, 7], [4000, 5], [Infinity, 4]];

let palette = { theme: undefined, colours: {} };

// The colours of the states as they are now; to ask the browser for them takes longer than to draw.
function colourOf(letter) {
  const theme = getComputedStyle(document.documentElement).colorScheme;
  if (palette.theme !== theme) palette = { theme, colours: {} };
  palette.colours[letter] ??= getComputedStyle(document.documentElement).getPropertyValue(`--state-${letter}`);
  return palette.colours[letter];
}

// Draws what differs from what is there, `width` pixels wide.
export function draw(canvas, letters, width) {
  const [, size] = SIZES.find(([most]) => letters.length <= most);
  const columns = Math.max(1, Math.floor(width / size));
  const drawn = `${letters}/${columns}/${document.documentElement.dataset.theme}`;
  if (canvas.drawn === drawn) return;
  canvas.drawn = drawn;
  const rows = Math.ceil(letters.length / columns);
  const scale = devicePixelRatio || 1;
  const [wide, high] = [columns * size, rows * size];
  if (canvas.width !== wide * scale || canvas.height !== high * scale) {
    canvas.width = wide * scale;
    canvas.height = high * scale;
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, wide, high);
  const gap = size > 6 ? 2 : 1;
  for (const letter of new Set(letters)) {
    context.fillStyle = colourOf(letter);
    for (let i = letters.indexOf(letter); i >= 0; i = letters.indexOf(letter, i + 1)) {
      context.fillRect((i % columns) * size, Math.floor(i / columns) * size, size - gap, size - gap);
    }
  }
}

// A chart of several runs: each its own line, whatever it is drawn over.
import { fill, h } from "./dom.js";

const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b"];

const WHOLE = [1, 2, 5].flatMap((step) => [...Array(9).keys()].map((power) => step * 10 ** power)).sort((a, b) => a - b);

// `lines`: [{label, xs, ys}], each sorted by xs; `whole`: x has no fractions, so its axis has none either.
export function chart(element, lines, { xLabel, yLabel, xText, yText, whole, empty }) {
  element.plot?.destroy();
  element.plot = undefined;
  const drawn = lines.filter((line) => line.xs.length);
  if (!drawn.length) {
    fill(element, h("p", { class: "quiet" }, empty));
    return;
  }
  fill(element);
  const data = globalThis.uPlot.join(drawn.map((line) => [line.xs, line.ys]));
  const style = getComputedStyle(document.body);
  const [ink, rule] = [style.getPropertyValue("--ink"), style.getPropertyValue("--rule")];
  const axis = (label, text) => ({
    label, stroke: ink, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, size: text === yText ? 74 : 50,
    values: (_, values) => values.map((value) => (value === null ? "" : text(value))), font: "12px system-ui", labelFont: "12px system-ui",
  });
  element.plot = new globalThis.uPlot({
    width: Math.max(260, element.clientWidth),
    height: 260,
    scales: { x: { time: false } },
    axes: [{ ...axis(xLabel, xText), ...(whole && { incrs: WHOLE }) }, axis(yLabel, yText)],
    series: [
      { label: xLabel, value: (_, value) => (value === null ? "–" : xText(value)) },
      ...drawn.map((line, i) => ({
        label: line.label,
        stroke: LINES[i % LINES.length],
        dash: i < LINES.length ? undefined : [6, 4],
        width: 2,
        spanGaps: true,
        points: { show: line.xs.length < 30, size: 5 },
        value: (_, value) => (value === null || value === undefined ? "–" : yText(value)),
      })),
    ],
  }, data, element);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `${yLabel} / ${xLabel}: ${drawn.map((line) => `${line.label} ${yText(line.ys.at(-1))}`).join("; ")}`);
}

// Draws the curves of a job's metrics from the page's JSON, and asks for it again while the job is under way.
"use strict";

(() => {
  const root = document.getElementById("charts");
  const silent = document.getElementById("silent");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const COLOURS = {
    light: ["#5a3fb5", "#0f7b6c", "#c2571a", "#1668b8", "#a8327d", "#6b7a12", "#8a5a2b", "#4b5563"],
    dark: ["#b6a3ff", "#58cbb6", "#f5a066", "#7fb8ff", "#f08cc8", "#c6d35a", "#d8b48a", "#a9b1bd"],
  };
  const HEIGHT = 230;
  const drawn = new Map();
  let latest = [];
  let span = [0, 1];

  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function words(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 1e6)) return Number(value.toPrecision(6)).toString();
    return value.toExponential(3);
  }

  const two = (number) => String(number).padStart(2, "0");

  // As fine as the distance of the marks, in seconds, asks for.
  function clock(seconds, distance) {
    const moment = new Date(seconds * 1000);
    const time = `${two(moment.getHours())}:${two(moment.getMinutes())}`;
    if (distance >= 86400) return `${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
    return distance < 60 ? `${time}:${two(moment.getSeconds())}` : time;
  }

  function table(chart) {
    return uPlot.join(chart.series.map((series) => [series.times.map((time) => time / 1000), series.values]));
  }

  function options(chart, width) {
    const colours = dark.matches ? COLOURS.dark : COLOURS.light;
    const font = `12px ${token("--sans")}`;
    const axis = { stroke: token("--soft"), font, grid: { stroke: token("--line"), width: 1 }, ticks: { stroke: token("--line"), width: 1 } };
    return {
      width,
      height: HEIGHT,
      padding: [10, 14, 0, 0],
      cursor: { points: { size: 7 }, sync: { key: "job" }, drag: { x: false, y: false } },
      legend: { live: true, markers: { width: 0, fill: (plot, index) => plot.series[index].stroke(plot, index) } },
      hooks: { setCursor: [tellNewest] },
      scales: { x: { range: () => span }, y: { range: (_, low, high) => spread(low, high, chart.kind === "instance") } },
      axes: [
        { ...axis, size: 34, space: 78, values: (_plot, marks, _axis, _space, distance) => marks.map((mark) => clock(mark, distance)) },
        { ...axis, size: 64, values: (_, splits) => splits.map(words) },
      ],
      series: [
        { label: "Time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
        ...chart.series.map((series, index) => ({
          label: series.label,
          stroke: colours[index % colours.length],
          width: 2,
          dash: index < colours.length ? undefined : [6, 4],
          spanGaps: true,
          value: (_, value) => words(value),
        })),
      ],
    };
  }

  // The newest values stand below a diagram until a pointer asks for others.
  function tellNewest(plot) {
    if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({ idx: plot.data[0].length - 1 });
  }

  // A flat curve gets room above and below; what an instance uses is counted from nothing.
  function spread(low, high, fromZero) {
    if (low === null || high === null) return [0, 1];
    const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
    return [fromZero && low >= 0 ? 0 : low - room, high + room];
  }

  function card(chart) {
    const section = root.querySelector(`[data-kind="${chart.kind === "instance" ? "instance" : "training"}"]`);
    section.hidden = false;
    const figure = document.createElement("figure");
    figure.className = "card";
    const header = document.createElement("header");
    const heading = document.createElement("h3");
    heading.textContent = chart.name;
    const note = document.createElement("span");
    note.className = "soft";
    const place = document.createElement("div");
    place.className = "chart";
    header.append(heading, note);
    figure.append(header, place);
    section.querySelector(".charts").append(figure);
    return { figure, note, place, plot: null, labels: "" };
  }

  function draw(chart) {
    if (!chart.series.some((series) => series.times.length > 0)) return;
    const key = `${chart.kind} ${chart.name}`; // its id counts, and counts anew when charts come in between
    if (!drawn.has(key)) drawn.set(key, card(chart));
    const place = drawn.get(key);
    const unit = chart.unit === "None" ? "" : `${chart.unit}, `;
    place.note.textContent = `${unit}average over ${chart.period_s} s`;
    const labels = chart.series.map((series) => series.label).join("\n");
    const data = table(chart);
    if (place.plot !== null && place.labels === labels) {
      place.plot.setData(data);
    } else {
      place.plot?.destroy();
      place.plot = new uPlot(options(chart, place.place.clientWidth - 20), data, place.place);
      place.labels = labels;
      place.place.querySelector("canvas").setAttribute("aria-hidden", "true");
    }
    const plot = place.plot;
    queueMicrotask(() => tellNewest(plot)); // after uPlot's own, which empties the legend
  }

  // All diagrams have one axis of time, from the first value of any to the last, in seconds.
  function spanOf(charts) {
    const ends = charts.flatMap((chart) => chart.series).flatMap(({ times }) => (times.length ? [times[0], times.at(-1)] : []));
    const [first, last] = [Math.min(...ends) / 1000, Math.max(...ends) / 1000];
    return last - first >= 10 ? [first, last] : [first - 5, last + 5];
  }

  function show(charts) {
    latest = charts;
    span = spanOf(charts);
    charts.forEach(draw);
    root.querySelector("[data-empty]").hidden = drawn.size > 0;
  }

  async function ask() {
    let wait = 2;
    if (!document.hidden) {
      try {
        const answer = await fetch(root.dataset.source, { headers: { Accept: "application/json" }, cache: "no-store" });
        if (answer.status === 401 || answer.status === 404) {
          location.reload();
          return;
        }
        if (!answer.ok) throw new Error(String(answer.status));
        const page = await answer.json();
        silent.hidden = true;
        show(page.charts);
        wait = page.poll_s;
      } catch {
        silent.hidden = false;
      }
    }
    if (wait !== null) setTimeout(ask, wait * 1000);
  }

  function again() {
    for (const place of drawn.values()) {
      place.plot?.destroy();
      place.plot = null;
    }
    latest.forEach(draw);
  }

  dark.addEventListener("change", again);
  new ResizeObserver(() => {
    for (const place of drawn.values()) place.plot?.setSize({ width: place.place.clientWidth - 20, height: HEIGHT });
  }).observe(root);
  ask();
})();

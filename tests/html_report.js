// Looks at a page in a frame as a reader would, and writes down what is wrong with it.
const frame = document.getElementById("page");
const result = document.getElementById("result");
const findings = [];
const find = (what, element) => {
  const text = (element.textContent || "").trim().slice(0, 60);
  findings.push(`${what}: <${element.tagName.toLowerCase()}> ${text}`);
};

const numbers = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);

const luminance = (rgb) => {
  const linear = rgb.slice(0, 3).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};

const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

const background = (element, view) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = numbers(view.getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.99) return colour;
  }
  return view.matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
};

const textElements = (page) => {
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  const elements = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && !["STYLE", "SCRIPT", "TITLE", "title"].includes(element.tagName)) {
      elements.add(element);
    }
  }
  return [...elements].filter((element) => element.getClientRects().length > 0);
};

const checkText = (elements, view) => {
  for (const element of elements) {
    const style = view.getComputedStyle(element);
    const ink = element.tagName === "text" ? style.fill : style.color;
    const ratio = contrast(numbers(ink), background(element, view));
    if (ratio < 4.5) find(`contrast ${ratio.toFixed(1)}`, element);
    if (element.tagName === "text" && element.getBoundingClientRect().height < 10) {
      find("too small", element);
    }
  }
};

const checkEdges = (page, view) => {
  const width = view.innerWidth;
  if (page.documentElement.scrollWidth > width) findings.push("the page is wider than the view");
  for (const element of page.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.right > width + 0.5 || box.left < -0.5)) find("overflows", element);
  }
};

const checkOverlaps = (page) => {
  for (const chart of page.querySelectorAll("svg")) {
    const labels = [...chart.querySelectorAll("text")]
      .map((label) => ({ label, box: label.getBoundingClientRect() }))
      .filter(({ box }) => box.width > 0);
    labels.forEach(({ label, box }, n) => {
      for (const other of labels.slice(n + 1)) {
        const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
        const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
        if (wide > 1 && high > 3) find(`overlaps with "${other.label.textContent}"`, label);
      }
    });
  }
};

window.addEventListener("error", (event) => findings.push(`script: ${event.message}`));
frame.addEventListener("load", () => {
  const [page, view] = [frame.contentDocument, frame.contentWindow];
  const texts = textElements(page);
  checkText(texts, view);
  checkEdges(page, view);
  checkOverlaps(page);
  const shown = (chart) => chart.getBoundingClientRect().width > 0;
  const dark = view.matchMedia("(prefers-color-scheme: dark)").matches;
  result.textContent = JSON.stringify({
    scheme: dark ? "dark" : "light",
    width: view.innerWidth,
    texts: texts.length,
    charts: [...page.querySelectorAll("svg")].filter(shown).length,
    findings,
  });
});

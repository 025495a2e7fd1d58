({
  look: () => {
    const found = new Set();
    const rgba = (text) => {
      const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
      return [r, g, b, a];
    };
    const mix = (under, over, part) => under.map((u, i) => u * (1 - part) + over[i] * part);
    const luminance = (colour) => {
      const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a, b) => {
      const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
      return (high + 0.05) / (low + 0.05);
    };
    // What a colour at an element looks like, and what is behind it, after every opacity above.
    const seen = (element, colour, own = true) => {
      const chain = [];
      for (let one = element; one; one = one.parentElement) chain.unshift(one);
      let painted = [255, 255, 255];
      const inside = chain.map((one, i) => {
        const [r, g, b, a] = rgba(getComputedStyle(one).backgroundColor);
        if (own || one !== element) painted = mix(painted, [r, g, b], a);
        return painted;
      });
      let behind = inside.at(-1), shown = mix(behind, colour.slice(0, 3), colour[3]);
      for (let i = chain.length - 1; i > 0; i--) {
        const opacity = Number(getComputedStyle(chain[i]).opacity);
        shown = mix(inside[i - 1], shown, opacity); behind = mix(inside[i - 1], behind, opacity);
      }
      return [shown, behind];
    };
    const where = (element) => {
      const region = element.closest("[aria-label]")?.ariaLabel ?? "page";
      return `${region}: ${element.tagName.toLowerCase()}${element.className && element.className.baseVal === undefined ? "." + element.className : ""} "${(element.textContent || element.value || element.placeholder || "").trim().slice(0, 40)}"`;
    };
    const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true })
      && element.getClientRects().length > 0 && !element.classList.contains("skip");
    const judge = (element, colour, least, what) => {
      const [shown, behind] = seen(element, colour), ratio = contrast(shown, behind);
      if (ratio < least - 0.005) found.add(`contrast ${ratio.toFixed(2)} < ${least} of ${what}: ${where(element)}`);
    };
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const element = node.parentElement;
      if (!node.data.trim() || ["SCRIPT", "STYLE", "OPTION", "DATALIST"].includes(element.tagName) || !visible(element)) continue;
      if (element.closest(":disabled") || element.closest("[aria-hidden=true]")) continue;
      const style = getComputedStyle(element), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      judge(element, rgba(element.namespaceURI.endsWith("svg") ? style.fill : style.color), large ? 3 : 4.5, "text");
    }
    for (const field of document.querySelectorAll("input, select, textarea")) {
      if (!visible(field) || field.disabled) continue;
      if (field.placeholder && !field.value) judge(field, rgba(getComputedStyle(field, "::placeholder").color), 4.5, "placeholder");
      if (["checkbox", "radio", "file"].includes(field.type)) continue;
      const [edge, ground] = seen(field, rgba(getComputedStyle(field).borderTopColor), false);
      if (contrast(edge, ground) < 2.995) found.add(`contrast ${contrast(edge, ground).toFixed(2)} < 3 of the edge: ${where(field)}`);
    }
    const focusable = "a[href], button, input, select, textarea, summary, label, [tabindex]:not([tabindex='-1'])";
    for (const element of document.body.querySelectorAll("*")) {
      if (getComputedStyle(element).cursor !== "pointer" || !visible(element)) continue;
      if (!element.closest(focusable + ", :disabled, [role=option]")) found.add(`cannot be focused: ${where(element)}`);
    }
    for (const element of document.querySelectorAll("[tabindex]")) if (element.tabIndex > 0) found.add(`tabindex above 0: ${where(element)}`);
    for (const element of document.querySelectorAll(".tag, .badge, .step")) {
      if (visible(element) && !element.textContent.trim()) found.add(`colour alone: ${where(element)}`);
    }
    const page = document.scrollingElement;
    if (page.scrollWidth > innerWidth) found.add(`page is ${page.scrollWidth - innerWidth} px too wide`);
    const main = document.getElementById("main");
    if (main && main.scrollWidth > main.clientWidth) {
      const wide = [...main.querySelectorAll("*")].find((one) => one.getBoundingClientRect().right > main.getBoundingClientRect().right + 1 && !one.closest(".panel .panel"));
      found.add(`view is ${main.scrollWidth - main.clientWidth} px too wide${wide ? `: ${where(wide)}` : ""}`);
    }
    return [...found];
  },

  focus: () => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const style = getComputedStyle(one);
    window.tabbed ??= new Map();
    if (!window.tabbed.has(one)) window.tabbed.set(one, window.tabbed.size);
    return [window.tabbed.get(one), one.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
      `${one.tagName.toLowerCase()} "${(one.ariaLabel ?? one.textContent ?? "").trim().slice(0, 40)}"`];
  },
})

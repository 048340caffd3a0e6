// Names, labels, reasons and texts come from outside the board, too. Everything reaches the document through these few
// functions, and none of them can make markup out of it.

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html lacks #${id}`);
  return element;
}

/** Writing the same text again would still cost layout and wake screen readers. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | null): void {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** Makes `wanted` the children of `parent`, touching only what differs: an element that is moved loses its focus. */
export function arrange(parent: Element, wanted: readonly Element[]): void {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  let there = parent.firstElementChild;
  for (const child of wanted) {
    // One that has to go further down is passed over: else all behind it would be moved up, one by one.
    if (there !== child && there?.nextElementSibling === child) there = child;
    if (there === child) there = child.nextElementSibling;
    else parent.insertBefore(child, there);
  }
}

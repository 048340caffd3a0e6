// Which stretch of time the charts show is a matter of taste and of the screen on the wall, so it is remembered; without
// storage (a private window) it is merely forgotten.

const KEY = 'boardcast.window';

/** Wires the radio buttons in `root`; the answer gives the seconds that are chosen now. */
export function chosenSeconds(root: HTMLElement, changed: () => void): () => number {
  const buttons = [...root.querySelectorAll<HTMLInputElement>('input[type=radio]')];
  const remembered = recall();
  for (const button of buttons) {
    if (button.value === remembered) button.checked = true;
    button.addEventListener('change', () => {
      remember(button.value);
      changed();
    });
  }
  return () => Number(buttons.find((button) => button.checked)?.value ?? 300);
}

function recall(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function remember(value: string): void {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // Only comfort is lost.
  }
}

// axe-core, on whatever is on the screen.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
export const STILL = { reducedMotion: 'reduce' }

/** The serious and critical findings in what is on the screen, in either colour scheme. */
export async function findings(page, view) {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe)
  const all = []
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, ...STILL })
    const found = await page.evaluate(async () => {
      // Colours may need a few frames to change.
      for (let still = 0; still < 5; still = document.getAnimations().length ? 0 : still + 1) await new Promise(requestAnimationFrame)
      const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] })
      return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} ${failureSummary}`))
    })
    all.push(...found.map(text => `${view}, ${colorScheme}: ${text}`))
  }
  return all
}

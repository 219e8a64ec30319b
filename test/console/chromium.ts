import { execFileSync } from 'node:child_process';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { brotliDecompressSync, createBrotliDecompress } from 'node:zlib';
import { type Browser, chromium } from 'playwright-core';

/**
 * Chromium as the npm package `@sparticuz/chromium` ships it, unpacked once for each version of the package. Not with
 * the package's own function, which unpacks to one name in the system's folder for temporary files, for all users of
 * the machine, and takes what lies there for whole. The libraries and the font come from the package too: a machine
 * without a desktop has neither.
 */
async function unpackChromium(): Promise<string> {
  const manifest = join(
    createRequire(import.meta.url).resolve('@sparticuz/chromium'),
    '../../../package.json',
  );
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string };
  const packed = resolve(manifest, '../bin');
  const cache = resolve(import.meta.dirname, '../../node_modules/.cache');
  const unpacked = join(cache, `chromium-${version}`);
  if (existsSync(unpacked)) return unpacked;

  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(`${unpacked}-`);
  try {
    for (const name of ['al2023', 'fonts', 'swiftshader']) {
      const tar = brotliDecompressSync(await readFile(join(packed, `${name}.tar.br`)));
      execFileSync('tar', ['-x', '--no-same-owner', '-C', folder], { input: tar });
    }
    await writeFile(join(folder, 'fonts.conf'), fontsConfig(unpacked));
    const binary = join(folder, 'chromium');
    await pipeline(
      createReadStream(join(packed, 'chromium.br')),
      createBrotliDecompress(),
      createWriteStream(binary),
    );
    await chmod(binary, 0o755);
    await rename(folder, unpacked);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    // Somebody else was quicker.
    if (!existsSync(unpacked)) throw error;
  }
  return unpacked;
}

/**
 * One font everywhere, so that a page looks and breaks the same on each machine. For what it lacks, letters of one width
 * and some signs, the one that most machines have.
 */
const fontsConfig = (folder: string): string => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${folder}/fonts</dir>
  <dir>/usr/share/fonts/truetype/dejavu</dir>
  <cachedir>${folder}/fonts-cache</cachedir>
  <alias binding="same"><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <match target="pattern">
    <edit name="family" mode="append_last"><string>Open Sans</string></edit>
  </match>
</fontconfig>
`;

/**
 * The packaged browser has died of a SIGSEGV at its start, seldom and for no reason that its log
 * names. One that has not begun is no verdict on the console: it is started again, and each failure said.
 */
async function launchAgain(launch: () => Promise<Browser>, attempts = 3): Promise<Browser> {
  try {
    return await launch();
  } catch (error) {
    if (attempts <= 1) throw error;
    process.stderr.write(`Chromium did not start, and is started again: ${error}\n`);
    return launchAgain(launch, attempts - 1);
  }
}

/**
 * Starts a headless Chromium: the packaged one where it runs, else an installed Chrome or Chromium. The caller closes it.
 * @throws with what to install, where there is none
 */
export async function launchChromium(): Promise<Browser> {
  const options = { headless: true, chromiumSandbox: false };
  if (process.platform === 'linux' && process.arch === 'x64') {
    const folder = await unpackChromium();
    const { PATH = '', HOME = folder } = process.env;
    return launchAgain(() =>
      chromium.launch({
        ...options,
        executablePath: join(folder, 'chromium'),
        args: ['--disable-gpu', '--font-render-hinting=none'],
        env: {
          PATH,
          HOME,
          LD_LIBRARY_PATH: join(folder, 'lib'),
          FONTCONFIG_FILE: join(folder, 'fonts.conf'),
        },
      }),
    );
  }
  const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));
  return chromium
    .launch({ ...options, ...(executablePath ? { executablePath } : { channel: 'chrome' }) })
    .catch((error: unknown) => {
      throw new Error(
        "The console's tests need a browser: install Google Chrome or Chromium, and run them again.",
        { cause: error },
      );
    });
}

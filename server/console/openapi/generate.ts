import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import openapiTS, { astToString } from 'openapi-typescript';
import { allEndpoints, namedSchemas } from '../../endpoints/index.ts';
import { openApiDocument } from '../../http/openapi.ts';

// Writes the types of the page's API calls out of the endpoints themselves: a change of the API that the page does
// not follow stops the build.
const TARGET = resolve(import.meta.dirname, '../src/api/schema.gen.ts');

const document = openApiDocument(allEndpoints({ metricsPublic: false }), namedSchemas);
const types = astToString(await openapiTS(JSON.stringify(document), { alphabetize: true }));

// Left alone where nothing changed, so that nothing is built again.
const before = await readFile(TARGET, 'utf8').catch(() => null);
if (types !== before) await writeFile(TARGET, types);

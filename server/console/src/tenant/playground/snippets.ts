/** A call of the API as source to copy; the key is a variable of the reader's environment. */
export interface Snippet {
  label: string;
  source: string;
}

const KEY_VARIABLE = 'NIMBLESITE_API_KEY';

/**
 * @param origin of the server, such as `http://127.0.0.1:8080`
 * @param body of the turn, as the API takes it
 */
export function snippetsOf(origin: string, configId: string, body: object): Snippet[] {
  const url = `${origin}/api/v1/chat/${configId}`;
  const json = JSON.stringify({ ...body, stream: true }, null, 2);
  // Within single quotes a shell knows only the quote itself.
  const quoted = json.replaceAll("'", String.raw`'\''`);
  return [
    {
      label: 'curl',
      source: [
        `curl -sS -N '${url}' \\`,
        `  -H "X-API-Key: $${KEY_VARIABLE}" \\`,
        `  -H 'Content-Type: application/json' \\`,
        `  -d '${quoted}'`,
      ].join('\n'),
    },
    {
      label: 'TypeScript',
      source: `const response = await fetch('${url}', {
  method: 'POST',
  headers: {
    'X-API-Key': process.env.${KEY_VARIABLE} ?? '',
    'Content-Type': 'application/json',
  },
  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll('\n', '\n  ')}),
});
const answer = await response.json();
if (!response.ok) throw new Error(\`\${answer.code}: \${answer.detail} (\${answer.request_id})\`);
console.log(answer.response, answer.tool_calls, answer.usage, answer.cost_usd);`,
    },
  ];
}

import type { Schema } from '../../api/client.ts';

/** First messages that show what a config does; the demo provider understands all of them. */
export function suggestionsFor({ model_config, tools_config }: Schema<'Config'>): string[] {
  const [tool] = tools_config;
  const name = typeof tool === 'string' ? tool : tool?.name;
  const isDemo = model_config.provider === 'demo';
  return [
    isDemo ? 'Hello!' : 'Hello, what can you do?',
    ...(isDemo ? ['What is your system prompt?'] : []),
    ...(isDemo && name !== undefined ? [`call ${name} {}`] : []),
  ];
}

import './styles.css';
import '@mantine/notifications/styles.css';
import { MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { createApi } from './api/client.ts';
import { createConsoleRouter } from './router.ts';
import { ConsoleContext } from './session/context.ts';
import { SessionGate } from './session/SessionGate.tsx';
import { createSessionStore, SIGNED_IN_HINT } from './session/session.ts';
import { cssVariables, theme } from './theme.ts';

const root = document.getElementById('root');
if (root === null) throw new Error('the page has no root');

const sessions = createSessionStore(localStorage);
const api = createApi({ csrfToken: sessions.csrfToken, onError: sessions.refused });
// Somebody has signed in or out in another window.
addEventListener('storage', ({ key }) => {
  if (key === SIGNED_IN_HINT) void sessions.recheck();
});
const router = createConsoleRouter();
/** The page's policy lets only styles with it in. */
const styleNonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '';
// What keeps the page from scrolling behind a dialog adds a style too, and asks for the nonce by this name.
Object.assign(globalThis, { __webpack_nonce__: styleNonce });

createRoot(root).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      cssVariablesResolver={cssVariables}
      defaultColorScheme="auto"
      getStyleNonce={() => styleNonce}
    >
      <Notifications />
      <ConsoleContext value={{ api, sessions }}>
        <SessionGate>
          <RouterProvider router={router} />
        </SessionGate>
      </ConsoleContext>
    </MantineProvider>
  </StrictMode>,
);

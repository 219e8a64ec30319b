/** What a command asks `/healthz` before it sends a token, and what the server of the folder alone can answer. */
export const CHALLENGE_HEADER = 'x-nimblesite-challenge';
export const PROOF_HEADER = 'x-nimblesite-proof';

// A worker that answers whatever it is asked, and does nothing; from outside it can be killed like any other.
process.on('message', ({ question }: { question?: number }) => {
  if (question !== undefined) process.send?.({ answer: question, answered: null });
});
process.on('disconnect', () => process.exit(0));

// A worker that cannot do its work.
process.exit(3);

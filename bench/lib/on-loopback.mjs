// Loaded before a program that can only be told its port: it listens on this machine alone, and says where. Plain
// JavaScript, so that nothing else is loaded into the program.
import { Server } from 'node:net';

const { listen } = Server.prototype;
Server.prototype.listen = function (options, ...rest) {
  const port = typeof options === 'object' ? options.port : options;
  const done = rest.find((argument) => typeof argument === 'function');
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, () => {
    process.stdout.write(`listening on http://127.0.0.1:${this.address().port}\n`);
    done?.call(this);
  });
};

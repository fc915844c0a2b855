// Ends with 0 once MongoDB takes writes. A new mongod is made a replica set of one first.
const password = require('fs').readFileSync('/run/secrets/mongo_password', 'utf8').trim();
const admin = new Mongo('mongodb://127.0.0.1:27017/?directConnection=true').getDB('admin');
admin.auth('cdclab', password);
if (!admin.hello().setName) {
  admin.runCommand({ replSetInitiate: { _id: 'cdclab', members: [{ _id: 0, host: 'mongo:27017' }] } });
}
quit(admin.hello().isWritablePrimary ? 0 : 1);

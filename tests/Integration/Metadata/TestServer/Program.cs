using System.Runtime.InteropServices;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

// Arguments: endpoint, state directory, bytes of journal after which a snapshot is made, endpoint of a storage server. Serves until its standard input ends.
// A write beyond the file size limit shall fail like one to a full disk; the signal's default would end the process.
const PosixSignal FileSizeExceeded = (PosixSignal)25;
using var ignored = PosixSignalRegistration.Create(FileSizeExceeded, static context => context.Cancel = true);
using var host = new MetadataHost(new MetadataOptions
{
    Endpoint = Endpoint.Parse(args[0]),
    StateDirectory = args[1],
    SnapshotAfterBytes = long.Parse(args[2], System.Globalization.CultureInfo.InvariantCulture),
});
if (args.Length > 3)
{
    host.UpdateServers([new ServerStatus(ServerRole.Storage, 1, "s1", args[3], "", 1, true, 0, [], [])]);
}

host.Start();
Console.WriteLine("ready");
while (Console.ReadLine() is not null)
{
}

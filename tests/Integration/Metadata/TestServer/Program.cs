using System.Runtime.InteropServices;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;

// Arguments: endpoint, state directory, bytes of journal after which a snapshot is made. Serves until its standard input ends.
// A write beyond the file size limit shall fail like one to a full disk; the signal's default would end the process.
const PosixSignal FileSizeExceeded = (PosixSignal)25;
using var ignored = PosixSignalRegistration.Create(FileSizeExceeded, static context => context.Cancel = true);
using var host = new MetadataHost(new MetadataOptions
{
    Endpoint = Endpoint.Parse(args[0]),
    StateDirectory = args[1],
    SnapshotAfterBytes = long.Parse(args[2], System.Globalization.CultureInfo.InvariantCulture),
});
host.Start();
Console.WriteLine("ready");
while (Console.ReadLine() is not null)
{
}

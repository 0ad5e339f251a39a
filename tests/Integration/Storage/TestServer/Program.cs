using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.StorageServer;
using EphemeralFs.StorageServer.Tiers;

// Arguments: endpoint, state directory, then class=directory=bytes for each tier. Serves until its standard input ends.
using var host = new StorageHost(new StorageOptions
{
    Endpoint = Endpoint.Parse(args[0]),
    StateDirectory = args[1],
    Name = "s1",
    Tiers = [.. args[2..].Select(a => a.Split('=')).Select(a => new TierOptions(
        Enum.Parse<TierClass>(a[0], ignoreCase: true), a[1], long.Parse(a[2], System.Globalization.CultureInfo.InvariantCulture)))],
});
host.Start();
Console.WriteLine("ready");
while (Console.ReadLine() is not null)
{
}

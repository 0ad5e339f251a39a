using System.Globalization;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>A network namespace with one wire to the machine's own network (veth), which can be pulled out. Needs root and iproute2.</summary>
internal sealed class CuttableNetwork : IDisposable
{
    private readonly string name = string.Create(CultureInfo.InvariantCulture, $"efsw{Environment.ProcessId % 100_000}");

    public CuttableNetwork()
    {
        Tool.Require("ip", "nsenter");
        try
        {
            Ip($"netns add {name}").MustSucceed();
            Ip($"link add {name}o type veth peer name {name}i netns {name}").MustSucceed();
            Ip($"address add {Outside}/30 dev {name}o").MustSucceed();
            Ip($"link set {name}o up").MustSucceed();
            Ip($"-n {name} address add 198.18.78.2/30 dev {name}i").MustSucceed();
            Ip($"-n {name} link set lo up").MustSucceed();
            Mend();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The machine's end, in the range that is set aside for tests of networks (RFC 2544).</summary>
    public string Outside { get; } = "198.18.78.1";

    /// <summary>Arguments of nsenter for a command in the network.</summary>
    public string[] Enter => [$"--net=/run/netns/{name}"];

    /// <summary>From now on no packet arrives, in either direction; connections do not hear of it.</summary>
    public void Cut() => Ip($"-n {name} link set {name}i down").MustSucceed();

    /// <summary>Packets arrive again.</summary>
    public void Mend() => Ip($"-n {name} link set {name}i up").MustSucceed();

    public void Dispose()
    {
        // What was not made cannot be removed; the device goes with its other end.
        Ip($"link delete {name}o");
        Ip($"netns delete {name}");
    }

    private static CommandResult Ip(string arguments) => new Command("/", 20, Tool.Find("ip"), arguments.Split(' ')).Run();
}

using System.Globalization;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>
/// A network namespace with one wire to the machine's own (veth), which can be cut. Needs root and iproute2. Disposing takes it away.
/// </summary>
/// <remarks>A cut wire drops packets without a word: each end is told a hardware address of the other that nobody has. That needs no packet filter in the kernel.</remarks>
internal sealed class NetworkOfItsOwn : IDisposable
{
    private const string Nobody = "02:00:00:00:00:99";
    private const string OutsideHardware = "02:00:00:00:00:01";
    private const string InsideHardware = "02:00:00:00:00:02";

    private readonly string name = string.Create(CultureInfo.InvariantCulture, $"efs{Environment.ProcessId % 100_000}");

    public NetworkOfItsOwn()
    {
        Tool.Require("ip", "nsenter");
        try
        {
            Ip($"netns add {name}");
            Ip($"link add {name}o address {OutsideHardware} type veth peer name {name}i address {InsideHardware} netns {name}");
            Ip($"address add {Outside}/30 dev {name}o");
            Ip($"-n {name} address add {Inside}/30 dev {name}i");
            Ip($"link set {name}o up");
            Ip($"-n {name} link set {name}i up");
            Ip($"-n {name} link set lo up");
            Mend();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Address of the machine's end: in 198.18.0.0/15, which is meant for tests of network devices (RFC 2544).</summary>
    public string Outside { get; } = Address(1);

    /// <summary>Address of the namespace's end.</summary>
    public string Inside { get; } = Address(2);

    /// <summary>A command line that runs in the network and otherwise where we are: the mount is to be seen here.</summary>
    public string[] Enter(params string[] command) => [Tool.Find("nsenter"), $"--net=/var/run/netns/{name}", .. command];

    /// <summary>From now on every packet is lost, both ways.</summary>
    public void Cut() => Tell(Nobody, Nobody);

    /// <summary>They arrive again.</summary>
    public void Mend() => Tell(OutsideHardware, InsideHardware);

    public void Dispose()
    {
        // The devices go with the namespace, as soon as no process is in it any more.
        Ip($"link delete {name}o", mayFail: true);
        Ip($"netns delete {name}", mayFail: true);
    }

    /// <summary>One of the four addresses of the small network that is this process's.</summary>
    private static string Address(int host)
    {
        int offset = (Environment.ProcessId % 32_768 * 4) + host;
        return string.Create(CultureInfo.InvariantCulture, $"198.{18 + (offset >> 16)}.{(offset >> 8) & 255}.{offset & 255}");
    }

    private void Tell(string outside, string inside)
    {
        Ip($"neighbour replace {Inside} lladdr {inside} dev {name}o nud permanent");
        Ip($"-n {name} neighbour replace {Outside} lladdr {outside} dev {name}i nud permanent");
    }

    private static void Ip(string arguments, bool mayFail = false)
    {
        var result = new Command("/", 20, Tool.Find("ip"), arguments.Split(' ')).Run();
        Assert.True(mayFail || result.ExitCode == 0, result.Describe());
    }
}

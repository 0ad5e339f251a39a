using System.Globalization;
using EphemeralFs.Core;

namespace EphemeralFs.Cli.Output;

/// <summary>The status for people.</summary>
internal static class StatusText
{
    public static void Write(StatusView view, TextWriter output)
    {
        output.WriteLine(view.Directory is null
            ? $"cluster in {view.State}"
            : $"cluster in {view.State}, volume tmp at {view.Directory}, since {view.StartedAt?.ToLocalTime():yyyy-MM-dd HH:mm:ss}");
        if (view.Supervisor is { Alive: false })
        {
            output.WriteLine("the supervisor (ephemeralfs up) is dead: nothing restarts roles that die; 'ephemeralfs down' cleans up");
        }

        output.WriteLine();
        var roles = new TextTable("ROLE", "NAME", "PID", "HEALTH", "RESTARTS", "ENDPOINT", "METRICS");
        foreach (var r in view.Roles)
        {
            roles.Add(r.Role, r.Name, Number(r.Pid), r.Health, Number(r.Restarts), r.Endpoint, r.Metrics);
        }

        roles.Write(output);
        output.WriteLine();
        Tiers(view.Tiers).Write(output, "no tiers");
        output.WriteLine();
        Volumes(view.Volumes).Write(output, "no volumes");
        output.WriteLine();
        var mounts = new TextTable("NODE", "VOLUME", "MOUNTED AT", "HEALTH", "OPTIONS");
        foreach (var m in view.Mounts)
        {
            mounts.Add(m.Node, m.Volume.Length > 0 ? m.Volume : "?", m.Directory, m.Alive ? "ok" : "its daemon does not answer", m.Options);
        }

        mounts.Write(output, "no mounts");
    }

    public static TextTable Tiers(IEnumerable<TierView> tiers)
    {
        var table = new TextTable("SERVER", "TIER", "USED", "CAPACITY", "BLOCKS", "HEALTH", "PATH");
        foreach (var t in tiers)
        {
            table.Add(t.Server, t.Tier, Size(t.UsedBytes), Size(t.CapacityBytes), Number(t.Blocks), t.Healthy ? "ok" : "failed", t.Path);
        }

        return table;
    }

    public static TextTable Volumes(IEnumerable<VolumeView> volumes)
    {
        var table = new TextTable("VOLUME", "ID", "USED", "QUOTA", "INODES", "INODE QUOTA", "SESSIONS", "METADATA SERVER", "HINTS");
        foreach (var v in volumes)
        {
            table.Add(
                v.Name,
                Number(v.Id),
                Size(v.UsedBytes),
                v.LimitBytes == 0 ? "none" : Size(v.LimitBytes),
                Number(v.UsedInodes),
                v.LimitInodes == 0 ? "none" : Number(v.LimitInodes),
                Number(v.Sessions),
                v.Metadata,
                v.Hints);
        }

        return table;
    }

    private static string Size(ulong bytes) => ByteSize.Format((long)Math.Min(bytes, long.MaxValue));

    private static string Number<T>(T value)
        where T : IFormattable => value.ToString(null, CultureInfo.InvariantCulture);
}

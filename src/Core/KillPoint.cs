using System.Diagnostics;

namespace EphemeralFs.Core;

/// <summary>Named places at which a test lets a process die as if by <c>kill -9</c>.</summary>
/// <remarks><c>EPHEMERALFS_KILL_AT=name[:N]</c> arms one of them: the process ends itself with SIGKILL at the N-th hit (default 1). Unarmed, a
/// kill point costs one branch.</remarks>
public static class KillPoint
{
    /// <summary>Name of the environment variable.</summary>
    public const string Variable = "EPHEMERALFS_KILL_AT";

    private static readonly string? s_name;
    private static int s_remaining;

    static KillPoint()
    {
        if (TryParse(Environment.GetEnvironmentVariable(Variable), out var name, out var hits))
        {
            s_name = name;
            s_remaining = hits;
        }
    }

    /// <summary>Reads <c>name[:N]</c>. False when nothing is named or N is not a positive number.</summary>
    public static bool TryParse(string? text, out string name, out int hits)
    {
        name = text ?? "";
        hits = 1;
        var colon = name.LastIndexOf(':');
        if (colon >= 0)
        {
            if (!int.TryParse(name.AsSpan(colon + 1), out hits) || hits < 1)
            {
                return false;
            }

            name = name[..colon];
        }

        return name.Length > 0;
    }

    /// <summary>Ends the process here when this point is armed and its hit has come.</summary>
    public static void Hit(string name)
    {
        if (s_name is not null)
        {
            HitArmed(name);
        }
    }

    private static void HitArmed(string name)
    {
        if (s_name == name && Interlocked.Decrement(ref s_remaining) == 0)
        {
            Process.GetCurrentProcess().Kill();
            Thread.Sleep(Timeout.Infinite);
        }
    }
}

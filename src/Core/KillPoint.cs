using System.Diagnostics;

namespace EphemeralFs.Core;

/// <summary>Named places at which a test lets a process die as if by <c>kill -9</c>.</summary>
/// <remarks>
/// <para><c>EPHEMERALFS_KILL_AT=name[:N]</c> arms one of them: the process ends itself with SIGKILL at the N-th hit (default 1). Whoever starts it
/// again may hand the variable on, and then it dies again.</para>
/// <para><c>EPHEMERALFS_KILL_AT=@DIRECTORY</c> arms those that have a file of their name there, at any time while processes run: the one that renames
/// <c>NAME</c> to <c>NAME.hit</c> ends itself, so that one file is one death, whoever inherits the variable.</para>
/// <para>Unarmed, a kill point costs one branch.</para>
/// </remarks>
public static class KillPoint
{
    /// <summary>Name of the environment variable.</summary>
    public const string Variable = "EPHEMERALFS_KILL_AT";

    /// <summary>What the file of a kill point is called after a process died of it.</summary>
    public const string HitSuffix = ".hit";

    private static readonly string? s_name;
    private static readonly string? s_directory;
    private static int s_remaining;

    static KillPoint()
    {
        var text = Environment.GetEnvironmentVariable(Variable);
        if (text is ['@', .. var directory])
        {
            s_directory = directory;
        }
        else if (TryParse(text, out var name, out var hits))
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
        if (s_name is not null || s_directory is not null)
        {
            HitArmed(name);
        }
    }

    /// <summary>Lets processes that are started from now on run without <c>name[:N]</c>, which is for one death. A directory is left to them.</summary>
    public static void DisarmSuccessors()
    {
        if (s_directory is null)
        {
            Environment.SetEnvironmentVariable(Variable, null);
        }
    }

    private static void HitArmed(string name)
    {
        if (s_directory is not null ? Take(s_directory, name) : s_name == name && Interlocked.Decrement(ref s_remaining) == 0)
        {
            Process.GetCurrentProcess().Kill();
            Thread.Sleep(Timeout.Infinite);
        }
    }

    /// <summary>Takes the file of a kill point; false when there is none, or another process was first.</summary>
    private static bool Take(string directory, string name)
    {
        var file = Path.Combine(directory, name);
        if (!File.Exists(file))
        {
            return false;
        }

        try
        {
            File.Move(file, file + HitSuffix, overwrite: true);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }
}

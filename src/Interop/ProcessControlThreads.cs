using System.Globalization;

namespace EphemeralFs.Interop;

/// <summary>What /proc says about the threads of a process.</summary>
/// <remarks>
/// A process that was killed inside a FUSE notification never finishes dying: one thread stays in uninterruptible sleep until somebody
/// answers the request it waits behind, the pidfd stays silent and the process's descriptors stay open (measured on Linux 6.18). Such a
/// thread will not run another instruction of the program, so the process is as good as gone and its successor may start, which is what
/// ends the sleep.
/// </remarks>
public static class ProcessControlThreads
{
    // A status file has about 1,500 bytes; the masks of a machine with thousands of CPUs come after what is read here.
    private const int StatusBytes = 4096;

    /// <summary>Will no thread of this process run program code again?</summary>
    /// <returns>
    /// true when the process does not exist or every thread is a zombie, dead, or in uninterruptible sleep with SIGKILL pending.
    /// </returns>
    public static bool IsGone(int pid)
    {
        // The leader first: one small read, and enough for the usual answer "it runs".
        if (!IsTaskGone($"/proc/{pid}"))
        {
            return false;
        }

        try
        {
            foreach (var task in Directory.EnumerateDirectories($"/proc/{pid}/task"))
            {
                if (!IsTaskGone(task))
                {
                    return false;
                }
            }
        }
        catch (Exception e) when (e is DirectoryNotFoundException or IOException)
        {
            // The process ended while we looked.
            return !Directory.Exists($"/proc/{pid}");
        }

        return true;
    }

    /// <summary>The start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); 0 when it does not exist.</summary>
    /// <remarks>Together with the process id it names a process for as long as the machine runs.</remarks>
    public static ulong StartTime(int pid) =>
        TryRead($"/proc/{pid}/stat", out var stat) && TryField(stat, 22, out var field)
        && ulong.TryParse(field, NumberStyles.None, CultureInfo.InvariantCulture, out var ticks) ? ticks : 0;

    /// <summary>The parent of a process; 0 when the process does not exist or its parent is outside our namespace.</summary>
    public static int Parent(int pid) =>
        TryRead($"/proc/{pid}/stat", out var stat) && TryField(stat, 4, out var field)
        && int.TryParse(field, NumberStyles.None, CultureInfo.InvariantCulture, out var parent) ? parent : 0;

    /// <summary>The rule of <see cref="IsGone"/> for one thread, on the text of its <c>status</c> file.</summary>
    public static bool IsThreadGone(ReadOnlySpan<byte> status)
    {
        var state = Value(status, "State:"u8);
        if (state.IsEmpty)
        {
            return false;
        }

        return state[0] switch
        {
            (byte)'Z' or (byte)'X' or (byte)'x' => true,
            (byte)'D' => HasKill(Value(status, "SigPnd:"u8)) || HasKill(Value(status, "ShdPnd:"u8)),
            _ => false,
        };
    }

    /// <summary>Looks at one thread. Asked ten times a second by a process that is to stay small: nothing but the path is allocated.</summary>
    private static unsafe bool IsTaskGone(string directory)
    {
        var fd = UnixSocketNative.Open(directory + "/status", UnixSocketNative.O_CLOEXEC, 0);
        if (fd < 0)
        {
            return !Directory.Exists(directory);
        }

        Span<byte> status = stackalloc byte[StatusBytes];
        nint length;
        fixed (byte* first = status)
        {
            // The kernel makes the text as a whole at the first read.
            length = UnixSocketNative.Read(fd, first, StatusBytes);
        }

        _ = UnixSocketNative.Close(fd);

        // ESRCH: it ended between open and read.
        return length > 0 ? IsThreadGone(status[..(int)length]) : !Directory.Exists(directory);
    }

    private static bool HasKill(ReadOnlySpan<byte> mask) =>
        ulong.TryParse(mask, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var bits)
        && (bits & (1UL << (ProcessControl.SigKill - 1))) != 0;

    private static ReadOnlySpan<byte> Value(ReadOnlySpan<byte> status, ReadOnlySpan<byte> name)
    {
        // The process name is the first line and the only one that a program chooses; the kernel escapes its newlines.
        while (!status.IsEmpty)
        {
            var end = status.IndexOf((byte)'\n');
            var line = end < 0 ? status : status[..end];
            if (line.StartsWith(name))
            {
                return line[name.Length..].Trim(" \t"u8);
            }

            status = end < 0 ? [] : status[(end + 1)..];
        }

        return [];
    }

    private static bool TryField(string stat, int number, out ReadOnlySpan<char> field)
    {
        // Field 2, the name, may contain spaces and parentheses; everything after the last ')' is fields 3 and on.
        field = [];
        var end = stat.LastIndexOf(')');
        if (end < 0 || end + 2 >= stat.Length)
        {
            return false;
        }

        var rest = stat.AsSpan(end + 2);
        var index = 3;
        foreach (var range in rest.Split(' '))
        {
            if (index++ == number)
            {
                field = rest[range];
                return true;
            }
        }

        return false;
    }

    private static bool TryRead(string path, out string text)
    {
        try
        {
            text = File.ReadAllText(path);
            return text.Length > 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // ENOENT, or ESRCH when the thread ends between open and read.
            text = "";
            return false;
        }
    }
}

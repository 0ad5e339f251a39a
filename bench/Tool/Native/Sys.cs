using System.Runtime.InteropServices;
using System.Text;

namespace EphemeralFs.Bench.Native;

/// <summary>System calls outside and inside the loops that throw <see cref="BenchException"/> with the call's name and errno.</summary>
internal static unsafe class Sys
{
    /// <summary>CLOCK_MONOTONIC in nanoseconds; comparable between processes.</summary>
    public static long Now() => Clock(Libc.CLOCK_MONOTONIC);

    /// <summary>CPU time of this process, all threads, in nanoseconds.</summary>
    public static long ProcessCpu() => Clock(Libc.CLOCK_PROCESS_CPUTIME_ID);

    /// <summary>The pause of everything that polls here: long enough to leave the CPU to others, short against what is measured.</summary>
    public static void Pause()
    {
        var time = new Libc.TimeSpec { Nanoseconds = 100_000 };
        _ = Libc.NanoSleep(&time, null);
    }

    public static int OpenDirectory(string path)
    {
        fixed (byte* name = Terminated(path))
        {
            return Check(Libc.OpenAt(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC, 0), "open", path);
        }
    }

    public static int Open(string path, int flags)
    {
        fixed (byte* name = Terminated(path))
        {
            return Check(Libc.OpenAt(Libc.AT_FDCWD, name, flags | Libc.O_CLOEXEC, 0x1b4), "open", path);
        }
    }

    public static void Close(int fd, string what) => Check(Libc.Close(fd), "close", what);

    /// <summary>Writes all of it; a short write is continued, as a program must.</summary>
    public static void WriteFully(int fd, byte* data, long count)
    {
        while (count > 0)
        {
            nint written = Libc.Write(fd, data, (nuint)count);
            if (written <= 0)
            {
                throw Failed("write", null);
            }

            data += written;
            count -= written;
        }
    }

    /// <summary>Reads until <paramref name="count"/> bytes or the end of the file; returns the bytes read.</summary>
    public static long ReadFully(int fd, byte* data, long count)
    {
        long total = 0;
        while (total < count)
        {
            nint read = Libc.Read(fd, data + total, (nuint)(count - total));
            if (read < 0)
            {
                throw Failed("read", null);
            }

            if (read == 0)
            {
                break;
            }

            total += read;
        }

        return total;
    }

    public static void Rename(string from, string to)
    {
        fixed (byte* old = Terminated(from))
        fixed (byte* fresh = Terminated(to))
        {
            Check(Libc.RenameAt(Libc.AT_FDCWD, old, Libc.AT_FDCWD, fresh), "rename", from);
        }
    }

    public static int Check(int result, string call, string? what = null) => result >= 0 ? result : throw Failed(call, what);

    public static BenchException Failed(string call, string? what)
    {
        int errno = Marshal.GetLastPInvokeError();
        string message = $"{call}: {Marshal.GetPInvokeErrorMessage(errno)}";
        return new BenchException(what is null ? message : $"{message} ({what})");
    }

    public static byte[] Terminated(string text) => Encoding.UTF8.GetBytes(text + "\0");

    private static long Clock(int id)
    {
        Libc.TimeSpec time;
        Check(Libc.ClockGetTime(id, &time), "clock_gettime");
        return time.TotalNanoseconds;
    }
}

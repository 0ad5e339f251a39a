using System.Globalization;
using EphemeralFs.Interop;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>The file SocketPath.daemon, written by the daemon: by it a new keeper recognises a daemon that outlived the last keeper.</summary>
/// <remarks>
/// One line: process id, its start time in clock ticks, its incarnation, and the id of this boot. Start time and boot make the process id
/// unmistakable. It stays after the daemon's end, so that incarnations keep growing over keepers, and goes when the keeper is shut down.
/// </remarks>
internal sealed class DaemonPidFile(string socketPath)
{
    private static readonly string BootId = File.Exists("/proc/sys/kernel/random/boot_id")
        ? File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim()
        : "-";

    internal string Path { get; } = socketPath + ".daemon";

    /// <summary>What the file says.</summary>
    /// <param name="Pid">The daemon's process, 0 when it is not there any more.</param>
    /// <param name="Incarnation">The last incarnation that was written.</param>
    internal readonly record struct Content(int Pid, ulong Incarnation);

    internal Content Read()
    {
        string[] fields;
        try
        {
            fields = File.ReadAllText(Path).Trim().Split(' ');
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return default;
        }

        if (fields.Length != 4 || fields[3] != BootId
            || !int.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
            || !ulong.TryParse(fields[1], NumberStyles.None, CultureInfo.InvariantCulture, out var startTime)
            || !ulong.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out var incarnation))
        {
            return default;
        }

        var lives = pid > 0 && startTime != 0 && ProcessControlThreads.StartTime(pid) == startTime && !ProcessControlThreads.IsGone(pid);
        return new Content(lives ? pid : 0, incarnation);
    }

    /// <summary>Names this process. The file is replaced as a whole: a reader never sees half of it.</summary>
    /// <exception cref="IOException">The directory cannot be written.</exception>
    internal void WriteSelf(ulong incarnation)
    {
        var pid = Environment.ProcessId;
        var temporary = string.Create(CultureInfo.InvariantCulture, $"{Path}.{pid}");
        File.WriteAllText(
            temporary,
            string.Create(CultureInfo.InvariantCulture, $"{pid} {ProcessControlThreads.StartTime(pid)} {incarnation} {BootId}\n"));
        File.Move(temporary, Path, overwrite: true);
    }

    internal void Delete() => Delete(Path);

    /// <summary>Removes a file of the keeper's, also when somebody has removed the whole state directory before.</summary>
    internal static void Delete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (DirectoryNotFoundException)
        {
            // The file is gone, which is what was wanted.
        }
    }
}

using EphemeralFs.Tests.Model.Native;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model;

/// <summary>File systems with one known fault each, in front of a good one: what the model must find.</summary>
public abstract class FaultyCalls : Calls
{
    /// <summary>Says that all bytes of an append were written, and drops the last.</summary>
    public sealed class ShortAppend : FaultyCalls
    {
        private readonly HashSet<int> appending = [];

        public override int Open(string path, int flags, uint mode)
        {
            int fd = base.Open(path, flags, mode);
            if (fd >= 0 && (flags & O_APPEND) != 0)
            {
                appending.Add(fd);
            }
            else
            {
                appending.Remove(fd);
            }
            return fd;
        }

        public override long Write(int fd, ReadOnlySpan<byte> data)
        {
            if (!appending.Contains(fd) || data.Length < 2)
            {
                return base.Write(fd, data);
            }
            long written = base.Write(fd, data[..^1]);
            return written < 0 ? written : written + 1;
        }
    }

    /// <summary>Counts one link for every file, however many names it has.</summary>
    public sealed class ForgetsLinks : FaultyCalls
    {
        public override int Stat(int directory, string path, int flags, out FileStatus status)
        {
            int result = base.Stat(directory, path, flags, out status);
            if (result == 0 && status.IsFile && status.Links > 1)
            {
                status = status with { Links = 1 };
            }
            return result;
        }
    }

    /// <summary>Renames over an existing file although RENAME_NOREPLACE forbids it.</summary>
    public sealed class IgnoresNoReplace : FaultyCalls
    {
        public override int Rename(string from, string to, uint flags) => base.Rename(from, to, flags == RENAME_NOREPLACE ? 0 : flags);
    }

    /// <summary>Grows a file without leaving zeroes: truncate upwards does nothing.</summary>
    public sealed class NeverGrows : FaultyCalls
    {
        public override int Truncate(int fd, long length) =>
            Stat(fd, "", AT_EMPTY_PATH, out var status) == 0 && length > status.Size ? base.Truncate(fd, status.Size) : base.Truncate(fd, length);
    }

    /// <summary>Punches a hole by doing nothing.</summary>
    public sealed class KeepsHoleBytes : FaultyCalls
    {
        public override int Allocate(int fd, int mode, long offset, long length)
        {
            // The same errors as the real call, without its effect: allocate within the file.
            bool isPunch = mode == (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE);
            return base.Allocate(fd, isPunch ? FALLOC_FL_KEEP_SIZE : mode, offset, length);
        }
    }

    /// <summary>Skips the entry that follows one that was removed while the directory is read: the fault of cookies that are positions.</summary>
    public sealed class PositionCookies : FaultyCalls
    {
        private readonly HashSet<int> removedFrom = [];
        private readonly HashSet<int> reading = [];

        public override int Unlink(int directory, string path, int flags)
        {
            int result = base.Unlink(directory, path, flags);
            if (result == 0)
            {
                removedFrom.UnionWith(reading);
            }
            return result;
        }

        public override int Close(int fd)
        {
            reading.Remove(fd);
            removedFrom.Remove(fd);
            return base.Close(fd);
        }

        public override int ReadDirectory(int fd, byte[] buffer, List<DirectoryEntry> entries)
        {
            int before = entries.Count;
            int result = base.ReadDirectory(fd, buffer, entries);
            if (removedFrom.Remove(fd) && entries.Count > before)
            {
                entries.RemoveAt(before);
            }
            reading.Add(fd);
            return result;
        }
    }
}

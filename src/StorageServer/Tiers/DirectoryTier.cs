using System.Globalization;
using System.IO.Enumeration;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Extensions.Logging;

namespace EphemeralFs.StorageServer.Tiers;

/// <summary>Blocks as files in a directory of the right kind of file system: tmpfs for <c>dram</c>, a disk for the others. One file for each block.</summary>
/// <remarks>
/// A block is written under its final name in one pwritev: open, write, close, and no rename. That is safe against a kill because nobody looks a block up before the
/// write returned, and because after a restart a file shorter than its name says is removed. Against loss of power the trailer's checksum helps: such a block is found corrupt, not served.
/// Files are not synced: blocks outlive the process, not the machine.
/// </remarks>
public sealed class DirectoryTier : ITier
{
    /// <summary>Making a volume's directories races with deleting the volume; each repetition means that somebody else succeeded.</summary>
    private const int CreateAttemptsMax = 16;

    private readonly TierDirectory _directory;
    private readonly TierAccount _account;
    private readonly VolumeRemover _remover;
    private readonly ILogger _log;
    private long _trashNumber;
    private volatile bool _healthy = true;

    /// <summary>Opens the tier; throws <see cref="IOException"/> with one line that says what to do.</summary>
    /// <param name="options">Class, directory and capacity.</param>
    /// <param name="server">Name of the storage server that the blocks belong to.</param>
    /// <param name="log">For failures of the medium.</param>
    public DirectoryTier(TierOptions options, string server, ILogger log)
    {
        _log = log;
        Class = options.Class;
        _directory = TierDirectory.Open(options, server, log);
        _account = new TierAccount(options.CapacityBytes & -Limits.PageSizeBytes);
        _remover = new VolumeRemover(options.Path, _account, log);
        try
        {
            _remover.Start();
        }
        catch
        {
            _directory.Dispose();
            throw;
        }
    }

    public TierClass Class { get; }

    public string Path => _directory.Path;

    public long CapacityBytes => _account.CapacityBytes;

    public long UsedBytes => _account.UsedBytes;

    public long Blocks => _account.Blocks;

    public bool Healthy => _healthy;

    public Status Write(ulong blockId, ReadOnlySpan<byte> data, ReadOnlySpan<uint> checksums)
    {
        if (!_healthy)
        {
            return Status.TierFailed;
        }

        var charge = BlockFormat.Charge(data.Length);
        if (!_account.TryTake(charge))
        {
            return Status.TierFull;
        }

        Span<byte> path = stackalloc byte[BlockPath.LengthBytes];
        BlockPath.Write(path, blockId, data.Length);
        Span<byte> trailer = stackalloc byte[BlockFormat.TrailerMaxBytes];
        trailer = trailer[..BlockFormat.TrailerLength(data.Length)];
        BlockFormat.WriteTrailer(trailer, blockId, data.Length, checksums);

        var errno = CreateFile(path, out var fd);
        if (errno == Errno.OK)
        {
            errno = BlockFiles.Write(fd, data, trailer);
            var closed = DeviceIo.Close(fd);
            errno = errno == Errno.OK ? closed : errno;
            if (errno == Errno.OK)
            {
                return Status.OK;
            }

            var removed = BlockFiles.Unlink(_directory.Descriptor, path);
            if (removed != Errno.OK)
            {
                _log.LogError("{Tier}: an incomplete block {Block} could not be removed ({Errno})", Path, BlockPath.Format(blockId, data.Length), removed);
            }
        }

        _account.Return(charge);
        return Failed(errno, "write", blockId);
    }

    public Status Read(ulong blockId, int blockLength, int offset, Span<byte> data, Span<uint> checksums)
    {
        var status = OpenBlock(blockId, blockLength, out var fd);
        if (status != Status.OK)
        {
            return status;
        }

        Span<byte> trailer = stackalloc byte[BlockFormat.TrailerMaxBytes];
        trailer = trailer[..BlockFormat.TrailerLength(blockLength)];
        int dataRead;
        int trailerRead;
        Errno errno;
        if (offset + data.Length == blockLength)
        {
            // Up to the end of the block: data and trailer are neighbours.
            errno = BlockFiles.Read(fd, offset, data, trailer, out var read);
            (dataRead, trailerRead) = (Math.Min(read, data.Length), Math.Max(read - data.Length, 0));
        }
        else
        {
            errno = BlockFiles.Read(fd, offset, data, [], out dataRead);
            trailerRead = 0;
            if (errno == Errno.OK)
            {
                errno = BlockFiles.Read(fd, blockLength, trailer, [], out trailerRead);
            }
        }

        DeviceIo.Close(fd);
        if (errno != Errno.OK)
        {
            return Failed(errno, "read", blockId);
        }

        return dataRead == data.Length && trailerRead == trailer.Length
            && BlockFormat.TryReadTrailer(trailer, blockId, blockLength, offset / Limits.ChecksumUnitBytes, checksums)
            ? Status.OK
            : Status.BlockCorrupt;
    }

    public Status Compare(ulong blockId, int blockLength, ReadOnlySpan<uint> checksums)
    {
        Span<uint> stored = stackalloc uint[Limits.BlockSizeBytes / Limits.ChecksumUnitBytes];
        stored = stored[..BlockFormat.Units(blockLength)];
        var status = ReadTrailer(blockId, blockLength, stored);
        return status != Status.OK || stored.SequenceEqual(checksums) ? status : Status.BadRequest;
    }

    public Status Delete(ulong blockId, int blockLength)
    {
        Span<byte> path = stackalloc byte[BlockPath.LengthBytes];
        BlockPath.Write(path, blockId, blockLength);
        var errno = BlockFiles.Unlink(_directory.Descriptor, path);
        if (errno is not Errno.OK and not Errno.ENOENT)
        {
            return Failed(errno, "delete", blockId);
        }

        // Also when somebody else removed the file: its room was still charged.
        _account.Return(BlockFormat.Charge(blockLength));
        return Status.OK;
    }

    public Status DeleteVolume(uint volume)
    {
        // Not only a counter: the trash may hold directories of earlier runs.
        var target = string.Create(
            CultureInfo.InvariantCulture, $"{volume:x6}-{Environment.ProcessId}-{Environment.TickCount64:x}-{Interlocked.Increment(ref _trashNumber)}");
        Span<byte> path = stackalloc byte[8];
        BlockPath.WriteVolume(path, volume);
        path[7] = 0;
        var errno = BlockFiles.Rename(_directory.Descriptor, path, Encoding.ASCII.GetBytes($"{BlockPath.Trash}/{target}\0"));
        if (errno == Errno.OK)
        {
            _remover.Add(target);
        }

        return errno is Errno.OK or Errno.ENOENT ? Status.OK : Failed(errno, "delete volume", BlockId.Make(volume, 0));
    }

    public bool WaitForRemoval(int timeoutMs) => _remover.WaitForProgress(timeoutMs);

    public IEnumerable<StoredBlock> Enumerate()
    {
        foreach (var directory in Directory.EnumerateDirectories(Path))
        {
            if (!BlockPath.TryParseVolume(System.IO.Path.GetFileName(directory.AsSpan()), out var volume))
            {
                continue;
            }

            var files = new FileSystemEnumerable<(string Path, long Bytes)>(
                directory,
                static (ref entry) => (entry.ToFullPath(), entry.Length),
                new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0, IgnoreInaccessible = false })
            {
                ShouldIncludePredicate = static (ref entry) => !entry.IsDirectory,
            };
            foreach (var (path, bytes) in files)
            {
                if (!BlockPath.TryParseFile(System.IO.Path.GetFileName(path.AsSpan()), out var sequence, out var length))
                {
                    _log.LogWarning("{Tier}: {File} is no block; it is left alone", Path, path);
                }
                else if (bytes != BlockFormat.FileLength(length))
                {
                    _log.LogWarning("{Tier}: {File} has {Bytes} bytes, not those of a whole block; it is removed", Path, path, bytes);
                    File.Delete(path);
                }
                else
                {
                    _account.Count(BlockFormat.Charge(length));
                    yield return new StoredBlock(BlockId.Make(volume, sequence), length);
                }
            }
        }
    }

    public void Dispose()
    {
        _remover.Dispose();
        _directory.Dispose();
    }

    /// <summary>Creates the file of a block, making the directories of its volume when they are missing.</summary>
    private Errno CreateFile(Span<byte> path, out int fd)
    {
        for (var attempt = 0; ; attempt++)
        {
            var errno = BlockFiles.Create(_directory.Descriptor, path, out fd);
            if (errno == Errno.EEXIST)
            {
                // A leftover that the store does not know. Never truncated in place: somebody may be reading it.
                errno = BlockFiles.Unlink(_directory.Descriptor, path);
                errno = errno == Errno.ENOENT ? Errno.OK : errno;
            }
            else if (errno == Errno.ENOENT)
            {
                errno = MakeParents(path);
            }
            else
            {
                return errno;
            }

            if (errno != Errno.OK || attempt == CreateAttemptsMax)
            {
                return errno != Errno.OK ? errno : Errno.EBUSY;
            }
        }
    }

    private Errno MakeParents(Span<byte> path)
    {
        var errno = MakeParent(path, 7);
        if (errno == Errno.OK)
        {
            errno = MakeParent(path, 9);
        }

        return errno == Errno.ENOENT ? Errno.OK : errno;
    }

    private Errno MakeParent(Span<byte> path, int length)
    {
        Span<byte> parent = stackalloc byte[length + 1];
        path[..length].CopyTo(parent);
        parent[length] = 0;
        var errno = BlockFiles.MakeDirectory(_directory.Descriptor, parent);
        return errno == Errno.EEXIST ? Errno.OK : errno;
    }

    private Status ReadTrailer(ulong blockId, int blockLength, Span<uint> checksums)
    {
        var status = OpenBlock(blockId, blockLength, out var fd);
        if (status != Status.OK)
        {
            return status;
        }

        Span<byte> trailer = stackalloc byte[BlockFormat.TrailerMaxBytes];
        trailer = trailer[..BlockFormat.TrailerLength(blockLength)];
        var errno = BlockFiles.Read(fd, blockLength, trailer, [], out var read);
        DeviceIo.Close(fd);
        if (errno != Errno.OK)
        {
            return Failed(errno, "read", blockId);
        }

        return read == trailer.Length && BlockFormat.TryReadTrailer(trailer, blockId, blockLength, 0, checksums) ? Status.OK : Status.BlockCorrupt;
    }

    private Status OpenBlock(ulong blockId, int blockLength, out int fd)
    {
        Span<byte> path = stackalloc byte[BlockPath.LengthBytes];
        BlockPath.Write(path, blockId, blockLength);
        var errno = BlockFiles.OpenRead(_directory.Descriptor, path, out fd);
        return errno switch
        {
            Errno.OK => Status.OK,
            Errno.ENOENT => Status.BlockNotFound,
            _ => Failed(errno, "read", blockId),
        };
    }

    /// <summary>What an errno of the medium means: full, short of something that comes back, or broken.</summary>
    private Status Failed(Errno errno, string operation, ulong blockId)
    {
        switch (errno)
        {
            case Errno.ENOSPC or Errno.EDQUOT:
                return Status.TierFull;
            case Errno.EMFILE or (Errno)23 /* ENFILE */ or Errno.ENOMEM or Errno.EBUSY or Errno.EAGAIN:
                _log.LogWarning("{Tier}: {Operation} of block {Block:x} failed for now ({Errno})", Path, operation, blockId, errno);
                return Status.TierFailed;
            default:
                if (_healthy)
                {
                    _healthy = false;
                    _log.LogError(
                        "{Tier}: {Operation} of block {Block:x} failed ({Errno}); the tier gets no new blocks until the server is started again", Path, operation, blockId, errno);
                }

                return Status.TierFailed;
        }
    }
}

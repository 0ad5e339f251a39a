using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Journaling;
using EphemeralFs.Metadata.Namespace;

namespace EphemeralFs.Metadata.Service;

/// <content>Blocks that several volumes refer to: what a copy of this volume is made of, and what others must know before they delete a block.</content>
internal sealed partial class VolumeService
{
    /// <summary>The volume that this one is a copy of, or 0: then all blocks that it refers to are its own.</summary>
    public uint Source { get; }

    /// <summary>Writes the first snapshot of a copy: the volume as it is at this instant, with all that was acknowledged.</summary>
    /// <returns>OK; ENOSPC when the quota is smaller than what would be copied; Unavailable when the state is not known.</returns>
    /// <exception cref="IOException">The target does not take it.</exception>
    public Status WriteCopy(Stream target, uint id, ulong limitBytes, ulong limitInodes)
    {
        lock (_lock)
        {
            if (_isBroken)
            {
                return Status.Unavailable;
            }

            if (limitBytes != 0 || limitInodes != 0)
            {
                var unnamed = _state.Inodes.Unsorted().Where(inode => inode.Attributes.Nlink == 0);
                var (bytes, inodes) = (_state.UsedBytes, _state.UsedInodes);
                foreach (var inode in unnamed)
                {
                    bytes -= inode.Attributes.AllocatedBytes;
                    inodes--;
                }

                if ((limitBytes != 0 && bytes > limitBytes) || (limitInodes != 0 && inodes > limitInodes))
                {
                    return Errno.ENOSPC.ToStatus();
                }
            }

            Snapshot.WriteCopy(target, _state, id, limitBytes, limitInodes);
            return Status.OK;
        }
    }

    /// <summary>Whether a file refers to any block of that volume; also when that is not known.</summary>
    public bool UsesBlocksOf(uint owner)
    {
        lock (_lock)
        {
            return _isBroken || _state.Blocks.UsesBlocksOf(owner);
        }
    }

    /// <summary>Marks those blocks that a file refers to; when that is not known, all.</summary>
    /// <param name="blockIds">Any blocks.</param>
    /// <param name="owners">The volumes that they belong to.</param>
    /// <param name="used">One mark for each block.</param>
    public void MarkUsed(ReadOnlySpan<ulong> blockIds, IReadOnlySet<uint> owners, Span<bool> used)
    {
        lock (_lock)
        {
            if (_isBroken)
            {
                used.Fill(true);
                return;
            }

            if (!owners.Any(_state.Blocks.UsesBlocksOf))
            {
                return;
            }

            for (var i = 0; i < blockIds.Length; i++)
            {
                used[i] |= _state.Blocks.ReferencesTo(blockIds[i]) > 0;
            }
        }
    }

    /// <summary>What is left of a volume that was closed.</summary>
    /// <param name="withOwn">Whether its own blocks are wanted too, not only those of others.</param>
    public SortedDictionary<uint, DeleteQueue> BlocksLeft(bool withOwn)
    {
        lock (_lock)
        {
            return _state.BlocksLeft(withOwn);
        }
    }
}

namespace EphemeralFs.StorageServer.Blocks;

/// <summary>The blocks of one volume: the map, which blocks are being written or deleted, and whether the volume is being deleted.</summary>
/// <remarks>The monitor of the object guards everything and is never held during I/O. A change of a block goes <see cref="TryBegin"/>, I/O, <see cref="End"/>.</remarks>
internal sealed class VolumeBlocks
{
    private readonly BlockMap _map = new();
    private readonly HashSet<ulong> _busy = [];
    private bool _closed;
    private bool _removed;

    /// <summary>Where a block is that can be read now.</summary>
    public bool TryGet(ulong sequence, out BlockPlace place)
    {
        lock (this)
        {
            return _map.TryGet(sequence, out place);
        }
    }

    /// <summary>
    /// Waits until nobody else writes or deletes the block, then reserves it. False when the volume was deleted: look it up again.
    /// </summary>
    public bool TryBegin(ulong sequence, out BlockPlace? place)
    {
        place = null;
        lock (this)
        {
            while (!_closed && _busy.Contains(sequence))
            {
                Monitor.Wait(this);
            }

            if (_closed)
            {
                while (!_removed)
                {
                    Monitor.Wait(this);
                }

                return false;
            }

            _busy.Add(sequence);
            place = _map.TryGet(sequence, out var found) ? found : null;
            return true;
        }
    }

    /// <summary>Makes a written block visible, while it is reserved.</summary>
    public void Add(ulong sequence, BlockPlace place)
    {
        lock (this)
        {
            _map.Add(sequence, place);
        }
    }

    /// <summary>Takes a block out of sight, while it is reserved.</summary>
    public void Remove(ulong sequence)
    {
        lock (this)
        {
            _map.Remove(sequence);
        }
    }

    /// <summary>Ends the reservation.</summary>
    public void End(ulong sequence)
    {
        lock (this)
        {
            _busy.Remove(sequence);
            Monitor.PulseAll(this);
        }
    }

    /// <summary>
    /// Begins to delete the volume: no block is visible any more, none is being changed when this returns. False when another thread did it, and has finished.
    /// </summary>
    public bool TryClose()
    {
        lock (this)
        {
            if (_closed)
            {
                while (!_removed)
                {
                    Monitor.Wait(this);
                }

                return false;
            }

            _closed = true;
            Monitor.PulseAll(this);
            while (_busy.Count > 0)
            {
                Monitor.Wait(this);
            }

            // Only now: what was in flight has added its blocks.
            _map.Clear();
            return true;
        }
    }

    /// <summary>The volume is gone from the tiers and from the index: those who wait may look it up again.</summary>
    public void SetRemoved()
    {
        lock (this)
        {
            _removed = true;
            Monitor.PulseAll(this);
        }
    }

    /// <summary>See <see cref="BlockMap.List"/>.</summary>
    public void List(uint volume, ulong after, int max, List<ulong> ids)
    {
        lock (this)
        {
            _map.List(volume, after, max, ids);
        }
    }
}

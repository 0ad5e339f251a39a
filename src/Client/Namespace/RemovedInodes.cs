using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Namespace;

/// <summary>
/// Last attributes of inodes that lost their last name through this node, until the kernel forgets them: a working directory that
/// was removed, a fifo and an O_PATH descriptor have no open handle at the server, yet <c>fstat</c> and <c>fchmod</c> on them work on every local file system.
/// </summary>
internal sealed class RemovedInodes
{
    /// <summary>More than this many are not remembered; the oldest then answer ENOENT, which programs meet on NFS too.</summary>
    private const int Max = 1 << 16;

    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, InodeAttributes> _attributes = [];
    private readonly Queue<ulong> _order = new();

    public void Add(in InodeAttributes attributes)
    {
        lock (_lock)
        {
            if (_attributes.TryAdd(attributes.Ino, attributes))
            {
                _order.Enqueue(attributes.Ino);
            }

            while (_order.Count > Max)
            {
                _attributes.Remove(_order.Dequeue());
            }
        }
    }

    public bool TryGet(ulong ino, out InodeAttributes attributes)
    {
        lock (_lock)
        {
            return _attributes.TryGetValue(ino, out attributes);
        }
    }

    /// <summary>Applies a change of anything but the size.</summary>
    public bool TryChange(in SetAttrRequest request, out InodeAttributes attributes)
    {
        lock (_lock)
        {
            if ((request.Fields & SetAttrFields.Size) != 0 || !_attributes.TryGetValue(request.Ino, out attributes))
            {
                attributes = default;
                return false;
            }

            var timeNs = Clock.NowNs();
            request.ApplyTo(ref attributes, timeNs);
            attributes.CtimeNs = timeNs;
            _attributes[request.Ino] = attributes;
            return true;
        }
    }

    public void Remove(ulong ino)
    {
        lock (_lock)
        {
            // Inode numbers are never used again, so a number left in the queue harms nobody.
            _attributes.Remove(ino);
        }
    }
}

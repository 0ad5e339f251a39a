using EphemeralFs.Client.Session;
using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Client.Files;

/// <summary>Asks the metadata server where bytes are, as far as it is not known.</summary>
public sealed class LayoutLoader(MetadataSession session, DataRecalls recalls)
{
    /// <summary>Makes the layout known up to <paramref name="end"/>.</summary>
    public ValueTask<Errno> EnsureAsync(FileNode file, ulong end)
    {
        lock (file.Lock)
        {
            if (file.Layout.CoveredEnd >= end)
            {
                return new ValueTask<Errno>(Errno.OK);
            }
        }

        return LoadAsync(file, end);
    }

    /// <summary>Forgets the layout: the server has a newer one.</summary>
    public static void Forget(FileNode file)
    {
        lock (file.Lock)
        {
            file.Layout.Clear();
            file.PagesVersion = 0;
        }
    }

    private async ValueTask<Errno> LoadAsync(FileNode file, ulong end)
    {
        while (true)
        {
            ulong from;
            lock (file.Lock)
            {
                from = file.Layout.CoveredEnd;
                if (from >= end)
                {
                    return Errno.OK;
                }
            }

            var asked = recalls.Ask();
            var result = await session.QueryAsync<GetLayoutRequest, LayoutReply>(new(file.Ino, from, long.MaxValue - from));
            if (!result.IsOk)
            {
                return result.Errno;
            }

            lock (file.Lock)
            {
                // A commit or recall in between changed what is known: what was asked for no longer fits.
                if (file.Layout.CoveredEnd == from && !recalls.IsOvertaken(asked, file.Ino) && file.Learn(result.Value.Attributes))
                {
                    file.Layout.Learn(from, result.Value);
                    if (file.Layout.CoveredEnd == from)
                    {
                        RpcTrace.Failed(Opcode.GetLayout, Status.BadRequest, $"inode {file.Ino}: nothing of it from byte {from} on");
                        return Errno.EIO;
                    }
                }
            }
        }
    }
}

using EphemeralFs.Tests.Model.Native;
using static EphemeralFs.Tests.Model.Native.Constants;

namespace EphemeralFs.Tests.Model.Running;

/// <summary>Removal of trees with any names and modes, where Directory.Delete gives up (names that are not UTF-8, directories of mode 0).</summary>
public static class Scratch
{
    private const int MaxRounds = 100;

    /// <summary>Removes the tree; ordinary text.</summary>
    /// <exception cref="IOException">Something of it cannot be removed.</exception>
    public static void Remove(string path)
    {
        int result = RemoveBytes(ByteText.FromText(path));
        if (result < 0 && result != -ENOENT)
        {
            throw new IOException($"cannot remove {path}: {Errors.Name(-result)}");
        }
    }

    private static int RemoveBytes(string path)
    {
        var calls = Calls.Linux;
        int result = calls.Unlink(AT_FDCWD, path, 0);
        if (result == 0 || result == -ENOENT)
        {
            return result;
        }
        result = calls.Unlink(AT_FDCWD, path, AT_REMOVEDIR);
        if (result != -ENOTEMPTY)
        {
            return result;
        }
        calls.ChangeMode(path, 0x1C0);
        var buffer = new byte[64 << 10];
        // Each round removes what one listing shows, until the directory is empty.
        for (int round = 0; round < MaxRounds && result == -ENOTEMPTY; round++)
        {
            int fd = calls.Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
            if (fd < 0)
            {
                return fd;
            }
            var entries = new List<DirectoryEntry>();
            while (calls.ReadDirectory(fd, buffer, entries) > 0)
            {
            }
            // Through the open directory: one lookup for each name however deep the tree is.
            foreach (var entry in entries.Where(entry => entry.Name is not ("." or "..")))
            {
                RemoveBytes($"/proc/self/fd/{fd}/{entry.Name}");
            }
            calls.Close(fd);
            result = calls.Unlink(AT_FDCWD, path, AT_REMOVEDIR);
        }
        return result;
    }
}
